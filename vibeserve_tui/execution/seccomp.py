"""A seccomp filter assembled by hand: what no box may ask of the kernel.

Namespaces and file rules decide what a box can *reach*; this filter takes away the calls that
answer in spite of them (keyrings, vsock, io_uring) and those that only widen the kernel's attack
surface. Classic BPF, a few hundred bytes; needs no libseccomp. It never inspects memory, so a call
whose arguments lie in memory (clone3) is refused as unknown and the C library falls back.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

from vibeserve_tui.errors import SandboxError


@dataclass(frozen=True, slots=True)
class Architecture:
    audit_arch: int
    calls: dict[str, int]


_DENIED = (
    # reading, writing or steering other processes
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open"),
    # kernel keyrings belong to the user, not to a namespace
    *("add_key", "request_key", "keyctl"),
    # large attack surface that no serving system needs
    *("bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    # changing the view that the box was given
    *("mount", "umount2", "pivot_root", "chroot", "fsopen", "fsmount", "move_mount", "open_tree", "mount_setattr"),
    *("unshare", "setns", "open_by_handle_at"),
    # machine-wide state
    *("kexec_load", "init_module", "finit_module", "delete_module", "swapon", "swapoff", "reboot", "acct"),
)

_COMMON = {  # numbers shared by every architecture that joined Linux after 2011, and by all calls after 2019
    "pidfd_getfd": 438,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "fsopen": 430,
    "fsmount": 432,
    "move_mount": 429,
    "open_tree": 428,
    "mount_setattr": 442,
    "clone3": 435,
}
# fmt: off
_ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, _COMMON | {
        "socket": 41, "clone": 56, "ptrace": 101, "pivot_root": 155, "chroot": 161, "acct": 163, "mount": 165,
        "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "init_module": 175, "delete_module": 176,
        "sched_setaffinity": 203, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "bpf": 321, "userfaultfd": 323,
    }),
    "aarch64": Architecture(0xC00000B7, _COMMON | {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "acct": 89, "unshare": 97, "kexec_load": 104,
        "init_module": 105, "delete_module": 106, "ptrace": 117, "sched_setaffinity": 122, "reboot": 142, "socket": 198,
        "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225,
        "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
    }),
}
# fmt: on

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_DENY = _ERRNO | errno.EPERM
_UNKNOWN = _ERRNO | errno.ENOSYS
_PRETEND = _ERRNO  # error number 0: the caller is told "done", nothing happens
_X32_BIT = 0x40000000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, (16, 24, 32)  # offsets in struct seccomp_data, low words
_CLONE_NEWUSER = 0x10000000
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE_MASK, _SOCK_STREAM, _IPPROTO_TCP, _NETLINK_ROUTE = 0xF, 1, 6, 0

_Instruction = tuple[int, int, int, int]


def build(*, tcp_only: bool, machine: str = "") -> bytes:
    """The filter for a box; `tcp_only` is for one that shares the host's network.

    There Landlock rules TCP ports, but neither datagrams, nor multipath TCP, nor Unix sockets in
    the file system (`ssh-agent`, `docker.sock`): those families and types are refused as a whole.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise SandboxError(f"no system-call filter is known for {machine}", fix="use an x86_64 or aarch64 machine")
    architecture = _ARCHITECTURES[machine]
    calls = architecture.calls

    program = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, architecture.audit_arch), (_RETURN, 0, 0, _KILL_PROCESS)]
    program.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _DENY)]
    for name in _DENIED:
        program += _answer(calls[name], _DENY)
    program += _answer(calls["clone3"], _UNKNOWN)
    # A pinned box stays where it was put: the load generator owns the other core. OpenMP runtimes
    # abort when their pinning fails, so the refusal looks like success.
    program += _answer(calls["sched_setaffinity"], _PRETEND)
    program += _no_user_namespace(calls["clone"])
    program += _sockets(calls["socket"], tcp_only=tcp_only)
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _answer(number: int, action: int) -> list[_Instruction]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, action)]


def _no_user_namespace(clone: int) -> list[_Instruction]:
    """In a new user namespace a process has every capability again; the call number stays loaded."""
    refuse = [(_LOAD, 0, 0, _ARGUMENTS[0]), (_ANY_BIT, 0, 1, _CLONE_NEWUSER), (_RETURN, 0, 0, _DENY)]
    return [(_EQUAL, 0, len(refuse) + 1, clone), *refuse, (_RETURN, 0, 0, _ALLOW)]


def _sockets(socket: int, *, tcp_only: bool) -> list[_Instruction]:
    body: list[_Instruction] = []
    if tcp_only:
        tcp = [
            *[(_LOAD, 0, 0, _ARGUMENTS[1]), (_AND, 0, 0, _SOCK_TYPE_MASK)],
            *[(_EQUAL, 1, 0, _SOCK_STREAM), (_RETURN, 0, 0, _DENY)],
            *[(_LOAD, 0, 0, _ARGUMENTS[2]), *_answer(0, _ALLOW), *_answer(_IPPROTO_TCP, _ALLOW)],
            (_RETURN, 0, 0, _DENY),
        ]
        for family in (_AF_INET, _AF_INET6):
            body += [(_LOAD, 0, 0, _ARGUMENTS[0]), (_EQUAL, 0, len(tcp), family), *tcp]
    else:
        for family in (_AF_UNIX, _AF_INET, _AF_INET6):
            body += [(_LOAD, 0, 0, _ARGUMENTS[0]), *_answer(family, _ALLOW)]
    # Route queries are part of name resolution; every other netlink protocol is a kernel interface.
    body += [(_LOAD, 0, 0, _ARGUMENTS[0]), (_EQUAL, 1, 0, _AF_NETLINK), (_RETURN, 0, 0, _DENY)]
    body += [(_LOAD, 0, 0, _ARGUMENTS[2]), *_answer(_NETLINK_ROUTE, _ALLOW), (_RETURN, 0, 0, _DENY)]
    return [(_EQUAL, 0, len(body), socket), *body]
