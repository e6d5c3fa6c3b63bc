"""Tier `bwrap`: the arguments that make bubblewrap build a box.

Mounts travel on a descriptor, because the box could read them from /proc/1/cmdline. The
environment is given to bubblewrap itself: with --clearenv its first process would keep ours.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vibeserve_tui.execution.view import HOST_NAME, Bind, Empty, Entry, Link, unseen

# Never by PATH: a workspace or a virtual environment may come first there.
_PLACES = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap", "/run/current-system/sw/bin/bwrap")


def find() -> str | None:
    """The system's bubblewrap, unless it runs with root's rights: those are not ours to lend."""
    for path in _PLACES:
        if os.access(path, os.X_OK) and not Path(path).stat().st_mode & stat.S_ISUID:
            return path
    return None


def arguments(view: Iterable[Entry], *, cwd: str, own_network: bool, seccomp_fd: int) -> bytes:
    """For `bwrap --args FD`: NUL-terminated options."""
    options = ["--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    if own_network:
        options.append("--unshare-net")
    options += ["--disable-userns", "--cap-drop", "ALL", "--die-with-parent", "--new-session"]
    options += ["--hostname", HOST_NAME, "--proc", "/proc", "--dev", "/dev"]
    for path in unseen():
        options += ["--ro-bind", "/dev/null", path]
    for entry in view:
        options += _entry(entry)
    # /proc: to the kernel root in a box is still root, whose the machine's settings in /proc/sys are.
    # The others: memory without a size of its own.
    options += ["--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/"]
    options += ["--chdir", cwd, "--seccomp", str(seccomp_fd)]
    return b"".join(os.fsencode(option) + b"\0" for option in options)


def _entry(entry: Entry) -> list[str]:
    match entry:
        case Bind(path, writable, device):
            kind = "--dev-bind" if device else "--bind" if writable else "--ro-bind"
            return [kind, path, path]
        case Empty(path, size_mib, writable):
            options = ["--size", str(size_mib << 20), "--tmpfs", path]
            return options if writable else [*options, "--remount-ro", path]
        case Link(path, target):
            return ["--symlink", target, path]
