"""Namespaces by system call: the pods of every tier, and the boxes of tier `unshare`.

A pod is a network namespace that holds nothing but loopback, kept alive by two open descriptors.
The tier does what bubblewrap does, step by step, for machines that lack it: an own user, mount,
pid, IPC and host-name namespace, and a root that shows the box's view and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.execution import syscalls
from vibeserve_tui.execution.syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC
from vibeserve_tui.execution.view import DEVICES, HOST_NAME, Bind, Empty, Entry, Link, unseen

BOX_NAMESPACES = syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_STAGE = "/tmp"  # noqa: S108 - only a mount point: exists everywhere and is left at once
_TMPFS_FLAGS = MS_NOSUID | MS_NODEV


@dataclass(frozen=True, slots=True)
class PodNamespaces:
    """Open descriptors; the namespaces live as long as one of them or a process inside."""

    user: int
    network: int

    def close(self) -> None:
        os.close(self.user)
        os.close(self.network)


def open_pod() -> PodNamespaces:
    """A short-lived child makes the namespaces and hands their descriptors over."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            syscalls.set_dumpable(True)
            enter_new(syscalls.CLONE_NEWNET)
            raise_loopback()
            namespaces = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in ("user", "net")]
            socket.send_fds(theirs, [b"ok"], namespaces)
            status = 0
        except OSError as error:
            theirs.sendall(str(error).encode())
        finally:
            os._exit(status)
    theirs.close()
    with ours:
        answer, descriptors, _, _ = socket.recv_fds(ours, 4096, 2)
    os.waitpid(child, 0)
    if len(descriptors) != 2:
        raise OSError(f"no network namespace: {answer.decode(errors='replace')}")
    return PodNamespaces(*descriptors)


def join(pod: PodNamespaces) -> None:
    syscalls.setns(pod.user, syscalls.CLONE_NEWUSER)
    syscalls.setns(pod.network, syscalls.CLONE_NEWNET)


def enter_new(flags: int) -> None:
    """A new user namespace in which the caller keeps its own ids, and the others given."""
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(syscalls.CLONE_NEWUSER | flags)
    # Without this an ordinary user may not map a group: dropping groups could widen its rights.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1")
    _write("/proc/self/gid_map", f"{group} {group} 1")


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))
        fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def build_root(view: Iterable[Entry]) -> None:
    """Move into a mount namespace whose root is the view; the host's becomes unreachable."""
    entries = list(view)
    # Links must be followed, and what is there looked at, while the old root still is the root.
    hidden = unseen()
    sources = {entry.path: os.path.realpath(entry.path) for entry in entries if isinstance(entry, Bind)}
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
    syscalls.mount("tmpfs", _STAGE, "tmpfs", _TMPFS_FLAGS, "mode=755")
    os.chdir(_STAGE)
    Path("old").mkdir()
    Path("new").mkdir()
    # The stage covers the host's /tmp; from the old root's new place it is visible again.
    syscalls.pivot_root(".", "old")
    os.chdir("/")
    syscalls.mount("tmpfs", "/new", "tmpfs", _TMPFS_FLAGS, "mode=755")
    _mount_proc(hidden)
    _make_devices()
    for entry in entries:
        match entry:
            case Bind(path):
                _bind(sources[path], entry)
            case Empty():
                _mount_empty(entry)
            case Link(path, target):
                Path(f"/new{path}").symlink_to(target)
    # /proc: to the kernel root in a box is still root, whose the machine's settings in /proc/sys are.
    for path in ("/new/proc", "/new/dev", "/new"):
        syscalls.restrict_mount(path, read_only=True, recursive=False)
    syscalls.umount_lazily("/old")
    os.chdir("/new")
    syscalls.pivot_root(".", ".")
    syscalls.umount_lazily(".")
    os.chdir("/")
    socket.sethostname(HOST_NAME)


def protect_devices(paths: Iterable[str]) -> None:
    """In a mount namespace of the caller's: whoever shows them to others from here shows them so."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
    for path in paths:
        syscalls.mount(path, path, None, MS_BIND)
        syscalls.protect_device(path)


def forbid_user_namespaces() -> None:
    """For this user namespace and all below; without capabilities nobody can take it back."""
    _write("/proc/sys/user/max_user_namespaces", "0")


def _bind(source: str, entry: Bind) -> None:
    old, inside = Path(f"/old{source}"), Path(f"/new{entry.path}")
    if old.is_dir():
        inside.mkdir(parents=True, exist_ok=True)
    else:
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.touch()
    syscalls.mount(str(old), str(inside), None, MS_BIND | MS_REC)
    if entry.device:
        syscalls.protect_device(str(inside))
    else:
        syscalls.restrict_mount(str(inside), read_only=not entry.writable, recursive=True)


def _mount_empty(entry: Empty) -> None:
    inside = Path(f"/new{entry.path}")
    inside.mkdir(parents=True, exist_ok=True)
    syscalls.mount("tmpfs", str(inside), "tmpfs", _TMPFS_FLAGS, f"mode=755,size={entry.size_mib}m")
    if not entry.writable:
        syscalls.restrict_mount(str(inside), read_only=True, recursive=False)


def _mount_proc(hidden: Iterable[str]) -> None:
    Path("/new/proc").mkdir()
    syscalls.mount("proc", "/new/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path in hidden:
        syscalls.mount("/old/dev/null", f"/new{path}", None, MS_BIND)
        syscalls.restrict_mount(f"/new{path}", read_only=True, recursive=False)


def _make_devices() -> None:
    dev = Path("/new/dev")
    dev.mkdir()
    syscalls.mount("tmpfs", str(dev), "tmpfs", _TMPFS_FLAGS, "mode=755")
    for name in DEVICES:
        _bind(f"/dev/{name}", Bind(f"/dev/{name}", writable=True, device=True))
    (dev / "pts").mkdir()
    syscalls.mount("devpts", str(dev / "pts"), "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    links = {"ptmx": "pts/ptmx", "fd": "/proc/self/fd"}
    links |= {name: f"/proc/self/fd/{number}" for number, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, target in links.items():
        (dev / name).symlink_to(target)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
