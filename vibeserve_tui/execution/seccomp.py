"""A seccomp filter assembled by hand: what no box may ask of the kernel.

Namespaces and file rules decide what a box can *reach*; this filter takes away the calls that
answer in spite of them (keyrings, vsock, io_uring) and those that only widen the kernel's attack
surface. Classic BPF, needs no libseccomp. It never reads the caller's memory, so a call whose
arguments lie there (clone3) is refused as unknown, and the C library falls back.
"""

from __future__ import annotations

import errno
import functools
import platform
import struct
from collections.abc import Iterable, Mapping
from enum import Enum

from vibeserve_tui.errors import SandboxError

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# fmt: off
_NUMBERS = {  # x86_64, aarch64; None where there is no such call
    "socket": (41, 198), "socketpair": (53, 199), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    "clone": (56, 220), "clone3": (435, 435), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
    # reading, writing or steering other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "perf_event_open": (298, 241), "move_pages": (279, 239), "migrate_pages": (256, 238),
    # kernel keyrings belong to the user, not to a namespace
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # large attack surface that no serving system needs
    "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # changing the view that the box was given
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "fsopen": (430, 430), "fsmount": (432, 432), "move_mount": (429, 429),
    "open_tree": (428, 428), "mount_setattr": (442, 442), "open_by_handle_at": (304, 265), "fspick": (433, 433),
    "open_tree_attr": (467, 467), "statmount": (457, 457), "listmount": (458, 458), "listns": (470, 470),
    # machine-wide state
    "kexec_load": (246, 104), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "acct": (163, 89),
    "kexec_file_load": (320, 294), "syslog": (103, 116), "ioperm": (173, None), "iopl": (172, None),
    "fanotify_init": (300, 262),
    # giving a file rights that whoever runs it gains
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "creat": (85, None),
    "mknod": (133, None), "mknodat": (259, 33), "open": (2, None), "openat": (257, 56), "openat2": (437, 437),
    # priorities of the user's other processes, and what those share by System V and POSIX names
    "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "shmget": (29, 194), "shmat": (30, 196),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180), "shmctl": (31, 195), "semctl": (66, 191),
    "semop": (65, 193), "semtimedop": (220, 192), "msgctl": (71, 187), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "mq_unlink": (241, 181),
    # Landlock rules reading a folder, not being told what happens in it
    "inotify_add_watch": (254, 27),
    # leases on files: the kernel lets others wait who want to write there
    "fcntl": (72, 25),
    # hiding from whoever watches the box, and claims on the other half of a core
    "prctl": (157, 167),
    # notes and access lists on files: what Landlock says of modes is true of them
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463), "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
# fmt: on
_DENIED = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open"),
    *("move_pages", "migrate_pages", "fanotify_init"),
    *("add_key", "request_key", "keyctl"),
    *("bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("mount", "umount2", "pivot_root", "chroot", "fsopen", "fsmount", "move_mount", "open_tree", "mount_setattr"),
    *("fspick", "unshare", "setns", "open_by_handle_at", "open_tree_attr", "statmount", "listmount", "listns"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
    *("swapon", "swapoff", "reboot", "acct", "syslog", "ioperm", "iopl"),
)
_DENIED_BESIDE_THE_HOST = (
    *("setpriority", "ioprio_set", "sched_setscheduler", "sched_setparam", "sched_setattr"),
    *("shmget", "shmat", "shmctl", "semget", "semctl", "semop", "semtimedop"),
    *("msgget", "msgctl", "msgsnd", "msgrcv", "mq_open", "mq_unlink"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("setxattrat", "removexattrat", "file_setattr"),
)
_MODES = (  # call, the argument that is a mode, the one with flags that say whether it counts
    *(("chmod", 1, None), ("fchmod", 1, None), ("fchmodat", 2, None), ("fchmodat2", 2, None)),
    *(("creat", 1, None), ("mknod", 1, None), ("mknodat", 2, None), ("open", 2, 1), ("openat", 3, 2)),
)

_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_DENY = _ERRNO | errno.EPERM
_UNKNOWN = _ERRNO | errno.ENOSYS
_PRETEND = _ERRNO  # error number 0: the caller is told "done", nothing happens
_X32_BIT = 0x40000000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, (16, 24, 32, 40)  # offsets in struct seccomp_data, low words
_CLONE_NEWUSER, _MSG_FASTOPEN = 0x10000000, 0x20000000
_SET_ID_BITS, _CREATES = 0o6000, 0o100 | 0o20000000  # S_ISUID | S_ISGID, O_CREAT | __O_TMPFILE
_F_SETLEASE, _F_NOTIFY = 1024, 1026
_PR_SET_DUMPABLE, _PR_SCHED_CORE = 4, 62
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE_MASK, _SOCK_STREAM, _SOCK_SEQPACKET, _IPPROTO_TCP, _NETLINK_ROUTE = 0xF, 1, 5, 6, 0

_Instruction = tuple[int, int, int, int]


class Sockets(Enum):
    """Which a box may make. Pairs that are born connected are always allowed, but not those of datagrams where Unix
    sockets are not: one of such a pair can be pointed at any other.
    """

    ALL = "all"
    """Unix, IPv4, IPv6: in a network of its own."""
    TCP = "tcp"
    """Only what Landlock rules: no datagrams, no multipath TCP."""


@functools.cache
def build(sockets: Sockets, *, beside_host: bool, machine: str = "") -> bytes:
    """The filter of a box; one `beside_host` shares the host's process list.

    There Landlock keeps signals in and TCP to its ports, but not connections opened by sending
    (TCP fast open), nor limits and priorities of the user's other processes.
    """
    machine = machine or platform.machine()
    if machine not in _AUDIT_ARCH:
        raise SandboxError(f"no system-call filter is known for {machine}", fix="use an x86_64 or aarch64 machine")
    column = list(_AUDIT_ARCH).index(machine)
    calls = {name: number for name, numbers in _NUMBERS.items() if (number := numbers[column]) is not None}

    program = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _AUDIT_ARCH[machine]), (_RETURN, 0, 0, _KILL_PROCESS)]
    program.append((_LOAD, 0, 0, _NUMBER))
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _DENY)]
    program += _refuse(calls, _DENIED)
    # Their arguments lie in memory, where a filter cannot look.
    program += [*_answer(calls["clone3"], _UNKNOWN), *_answer(calls["openat2"], _UNKNOWN)]
    program += _set_id_files(calls)
    program += _answer_by(calls["fcntl"], 1, {_F_SETLEASE: _DENY, _F_NOTIFY: _DENY})
    # Programs that hide themselves end when they may not.
    program += _answer_by(calls["prctl"], 0, {_PR_SET_DUMPABLE: _PRETEND, _PR_SCHED_CORE: _DENY})
    # A pinned box stays where it was put: the load generator owns the other core. OpenMP runtimes
    # abort when their pinning fails, so the refusal looks like success.
    program += _answer(calls["sched_setaffinity"], _PRETEND)
    # In a new user namespace a process has every capability again.
    program += _refuse_if(calls["clone"], 0, (_ANY_BIT, _CLONE_NEWUSER))
    if beside_host:
        program += _beside_host(calls)
    if sockets is Sockets.TCP:
        program += _refuse(calls, ("inotify_add_watch",))
        program += _connected_pairs(calls["socketpair"])
    program += _sockets(calls["socket"], sockets)
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def _answer(number: int, action: int) -> list[_Instruction]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, action)]


def _refuse_if(number: int, argument: int, test: tuple[int, int]) -> list[_Instruction]:
    """Decides the call for good, so that its number need not be loaded again."""
    jump, constant = test
    body = [
        (_LOAD, 0, 0, _ARGUMENTS[argument]),
        (jump, 0, 1, constant),
        (_RETURN, 0, 0, _DENY),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return [(_EQUAL, 0, len(body), number), *body]


def _answer_by(number: int, argument: int, answers: Mapping[int, int]) -> list[_Instruction]:
    """As above, for an argument that has one of these values; each has its own answer."""
    body = [(_LOAD, 0, 0, _ARGUMENTS[argument])]
    body += [instruction for value, action in answers.items() for instruction in _answer(value, action)]
    body.append((_RETURN, 0, 0, _ALLOW))
    return [(_EQUAL, 0, len(body), number), *body]


def _refuse(calls: dict[str, int], names: Iterable[str]) -> list[_Instruction]:
    return [instruction for name in names if name in calls for instruction in _answer(calls[name], _DENY)]


def _set_id_files(calls: dict[str, int]) -> list[_Instruction]:
    """No set-uid or set-gid file comes out of a box: it would lend the user's rights to whoever runs it."""
    program: list[_Instruction] = []
    for name, mode, flags in _MODES:
        if name not in calls:
            continue
        body = [(_LOAD, 0, 0, _ARGUMENTS[mode]), (_ANY_BIT, 0, 1, _SET_ID_BITS), (_RETURN, 0, 0, _DENY)]
        if flags is not None:  # without these nothing is created, and the mode is whatever lay there
            body = [(_LOAD, 0, 0, _ARGUMENTS[flags]), (_ANY_BIT, 0, len(body), _CREATES), *body]
        program += [(_EQUAL, 0, len(body) + 1, calls[name]), *body, (_RETURN, 0, 0, _ALLOW)]
    return program


def _connected_pairs(number: int) -> list[_Instruction]:
    body = [
        *[(_LOAD, 0, 0, _ARGUMENTS[1]), (_AND, 0, 0, _SOCK_TYPE_MASK)],
        *[*_answer(_SOCK_STREAM, _ALLOW), *_answer(_SOCK_SEQPACKET, _ALLOW), (_RETURN, 0, 0, _DENY)],
    ]
    return [(_EQUAL, 0, len(body), number), *body]


def _beside_host(calls: dict[str, int]) -> list[_Instruction]:
    program = _refuse(calls, _DENIED_BESIDE_THE_HOST)
    program += _refuse_if(calls["prlimit64"], 0, (_AT_LEAST, 1))  # 0 is the caller itself
    for name, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        program += _refuse_if(calls[name], flags, (_ANY_BIT, _MSG_FASTOPEN))
    return program


def _sockets(number: int, allowed: Sockets) -> list[_Instruction]:
    body: list[_Instruction] = []
    if allowed is Sockets.ALL:
        body += [(_LOAD, 0, 0, _ARGUMENTS[0]), *_answer(_AF_UNIX, _ALLOW)]
    for family in (_AF_INET, _AF_INET6):
        kinds = _plain_tcp() if allowed is Sockets.TCP else [(_RETURN, 0, 0, _ALLOW)]
        body += [(_LOAD, 0, 0, _ARGUMENTS[0]), (_EQUAL, 0, len(kinds), family), *kinds]
    # Route queries are part of name resolution; every other netlink protocol is a kernel interface.
    body += [(_LOAD, 0, 0, _ARGUMENTS[0]), (_EQUAL, 1, 0, _AF_NETLINK), (_RETURN, 0, 0, _DENY)]
    body += [(_LOAD, 0, 0, _ARGUMENTS[2]), *_answer(_NETLINK_ROUTE, _ALLOW), (_RETURN, 0, 0, _DENY)]
    return [(_EQUAL, 0, len(body), number), *body]


def _plain_tcp() -> list[_Instruction]:
    return [
        *[(_LOAD, 0, 0, _ARGUMENTS[1]), (_AND, 0, 0, _SOCK_TYPE_MASK)],
        *[(_EQUAL, 1, 0, _SOCK_STREAM), (_RETURN, 0, 0, _DENY)],
        *[(_LOAD, 0, 0, _ARGUMENTS[2]), *_answer(0, _ALLOW), *_answer(_IPPROTO_TCP, _ALLOW)],
        (_RETURN, 0, 0, _DENY),
    ]
