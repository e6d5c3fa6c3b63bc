"""The filter decides as meant on both architectures, executed here instruction by instruction."""

from __future__ import annotations

import errno
import struct

import pytest

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution.seccomp import Sockets, build

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, PRETEND = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS, 0x50000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CALLS = {
    "read": (0, 63),
    "execve": (59, 221),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "clone": (56, 220),
    "clone3": (435, 435),
    "unshare": (272, 97),
    "mount": (165, 40),
    "ptrace": (101, 117),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "sched_setaffinity": (203, 122),
    "setpriority": (141, 140),
    "prlimit64": (302, 261),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "msgrcv": (70, 188),
    "mq_unlink": (241, 181),
    "inotify_add_watch": (254, 27),
    "syslog": (103, 116),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "mknodat": (259, 33),
    "openat": (257, 56),
    "openat2": (437, 437),
    "fcntl": (72, 25),
    "prctl": (157, 167),
    "setxattr": (188, 5),
}
UNIX, INET, INET6, NETLINK, VSOCK, PACKET = 1, 2, 10, 16, 40, 17
STREAM, DATAGRAM, RAW, PACKETS, CLOEXEC = 1, 2, 3, 5, 0o2000000
CREATE, TEMPORARY = 0o100, 0o20200000
SET_LEASE, GET_LEASE, NOTIFY, DUPLICATE = 1024, 1025, 1026, 1030
MPTCP, UDPLITE = 262, 136
FAST_OPEN, NEW_USER, THREAD = 0x20000000, 0x10000000, 0x10000


def run(program: bytes, audit_arch: int, number: int, arguments: tuple[int, ...]) -> int:
    """What the kernel would answer: classic BPF over struct seccomp_data."""
    data = struct.pack("IIQ6Q", number, audit_arch, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    code = list(struct.iter_unpack("HBBI", program))
    accumulator = at = 0
    while True:
        operation, jump_true, jump_false, constant = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x15:
                at += jump_true if accumulator == constant else jump_false
            case 0x35:
                at += jump_true if accumulator >= constant else jump_false
            case 0x45:
                at += jump_true if accumulator & constant else jump_false
            case 0x06:
                return constant
            case _:
                raise AssertionError(f"unknown instruction {operation:#x}")


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest) -> str:
    return request.param


def answer(machine: str, name: str, *arguments: int, sockets: Sockets = Sockets.ALL, beside_host: bool = False) -> int:
    program = build(sockets, beside_host=beside_host, machine=machine)
    return run(program, ARCHITECTURES[machine], CALLS[name][list(ARCHITECTURES).index(machine)], arguments)


def test_ordinary_calls_pass(machine: str):
    assert {answer(machine, name) for name in ("read", "execve", "socketpair")} == {ALLOW}


def test_calls_that_reach_out_of_a_box_are_refused(machine: str):
    refused = ("ptrace", "keyctl", "io_uring_setup", "mount", "unshare", "syslog")
    assert {answer(machine, name) for name in refused} == {EPERM}


def test_no_file_gets_the_right_to_run_as_its_owner(machine: str):
    assert {answer(machine, name, 3, 0, 0o4755) for name in ("fchmodat", "fchmodat2", "mknodat")} == {EPERM}
    assert {answer(machine, name, 3, 0, 0o1777) for name in ("fchmodat", "fchmodat2", "mknodat")} == {ALLOW}
    assert (answer(machine, "fchmod", 3, 0o2755), answer(machine, "fchmod", 3, 0o755)) == (EPERM, ALLOW)
    assert {answer(machine, "openat", 3, 0, flags, 0o6000) for flags in (CREATE, TEMPORARY)} == {EPERM}
    assert answer(machine, "openat", 3, 0, CREATE, 0o644) == ALLOW
    assert answer(machine, "openat", 3, 0, 0, 0o6000) == ALLOW, "nothing is created: no mode is read"
    assert answer(machine, "openat2", 3) == ENOSYS


def test_a_set_uid_mode_is_refused_by_the_calls_that_only_x86_has():
    program = build(Sockets.ALL, beside_host=False, machine="x86_64")
    for number, mode_at in ((90, 1), (85, 1), (133, 1), (2, 2)):
        arguments = [0] * mode_at + [0o4755]
        arguments[1] = arguments[1] if mode_at == 1 else CREATE
        assert run(program, ARCHITECTURES["x86_64"], number, tuple(arguments)) == EPERM


def test_no_writer_is_held_up_by_a_lease_and_no_folder_tells_what_happens_in_it(machine: str):
    assert {answer(machine, "fcntl", 3, command) for command in (SET_LEASE, NOTIFY)} == {EPERM}
    assert {answer(machine, "fcntl", 3, command) for command in (*range(16), GET_LEASE, DUPLICATE)} == {ALLOW}


def test_no_process_hides_from_its_keeper_or_claims_a_core(machine: str):
    assert (answer(machine, "prctl", 4), answer(machine, "prctl", 62)) == (PRETEND, EPERM)
    assert {answer(machine, "prctl", option) for option in (1, 3, 15, 22, 38)} == {ALLOW}


def test_notes_on_files_are_refused_where_the_files_are_the_hosts(machine: str):
    assert answer(machine, "setxattr") == ALLOW
    assert answer(machine, "setxattr", beside_host=True) == EPERM


def test_processes_and_threads_start_but_no_user_namespace(machine: str):
    assert answer(machine, "clone", THREAD) == ALLOW
    assert answer(machine, "clone", NEW_USER | 17) == EPERM
    assert answer(machine, "clone3") == ENOSYS


def test_pinning_does_nothing_and_says_done(machine: str):
    assert answer(machine, "sched_setaffinity", 0) == PRETEND


@pytest.mark.parametrize(
    ("sockets", "allowed"),
    [
        (Sockets.ALL, {"unix", "tcp", "tcp6", "udp", "route"}),
        (Sockets.TCP, {"tcp", "tcp6", "route"}),
    ],
    ids=lambda value: value.value if isinstance(value, Sockets) else "",
)
def test_each_box_makes_only_its_sockets(machine: str, sockets: Sockets, allowed: set[str]):
    kinds = {
        "unix": (UNIX, STREAM, 0),
        "tcp": (INET, STREAM | CLOEXEC, 6),
        "tcp6": (INET6, STREAM, 0),
        "udp": (INET, DATAGRAM | CLOEXEC, 0),
        "route": (NETLINK, 3, 0),
        "generic netlink": (NETLINK, 3, 16),
        "vsock": (VSOCK, STREAM, 0),
        "packet": (PACKET, 3, 0),
    }
    answers = {name: answer(machine, "socket", *kind, sockets=sockets) for name, kind in kinds.items()}

    assert {name for name, decided in answers.items() if decided == ALLOW} == allowed
    assert set(answers.values()) == {ALLOW, EPERM}


def test_where_unix_sockets_are_not_no_pair_can_be_pointed_at_one(machine: str):
    kinds = (STREAM, STREAM | CLOEXEC, PACKETS, DATAGRAM, DATAGRAM | CLOEXEC, RAW)
    answers = [answer(machine, "socketpair", UNIX, kind, sockets=Sockets.TCP) for kind in kinds]

    assert answers == [ALLOW, ALLOW, ALLOW, EPERM, EPERM, EPERM]


def test_no_other_protocol_passes_as_tcp(machine: str):
    for kind in ((INET, STREAM, MPTCP), (INET6, STREAM, MPTCP), (INET, DATAGRAM, UDPLITE), (INET, 3, 1)):
        assert answer(machine, "socket", *kind, sockets=Sockets.TCP) == EPERM


def test_beside_the_host_foreign_processes_are_left_alone(machine: str):
    def beside(name: str, *arguments: int) -> int:
        return answer(machine, name, *arguments, sockets=Sockets.TCP, beside_host=True)

    shared = ("shmget", "shmctl", "msgrcv", "mq_unlink", "inotify_add_watch")
    assert {beside("setpriority"), beside("prlimit64", 4711), *map(beside, shared)} == {EPERM}
    assert beside("prlimit64", 0) == ALLOW
    assert {beside("sendto", 3, 0, 1, FAST_OPEN), beside("sendmsg", 3, 0, FAST_OPEN | 0x4000)} == {EPERM}
    assert {beside("sendto", 3, 0, 1, 0x4000), beside("sendmsg", 3, 0, 0)} == {ALLOW}
    assert {answer(machine, name, 4711) for name in ("setpriority", "shmget", "prlimit64")} == {ALLOW}


def test_a_foreign_architecture_is_killed(machine: str):
    program = build(Sockets.ALL, beside_host=False, machine=machine)

    assert run(program, 0x40000003, 11, ()) == KILL


def test_x32_numbers_are_refused():
    program = build(Sockets.ALL, beside_host=False, machine="x86_64")

    assert run(program, ARCHITECTURES["x86_64"], 0x40000000 | 39, ()) == EPERM


def test_an_unknown_machine_gets_no_filter_and_no_box():
    with pytest.raises(SandboxError, match="riscv64"):
        build(Sockets.ALL, beside_host=False, machine="riscv64")
