"""Processes outside of the box."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import struct
import termios
from pathlib import Path

from .kit import Refused, attempt, inherited, libc, number, syscall, task, text


@attempt(outside=True)
def signal_a_process_outside() -> None:
    os.kill(number("victim"), 0)
    if Path("/proc/self/ns/pid").exists() and str(Path("/proc/self/ns/pid").readlink()) != text("pid_namespace"):
        raise Refused("another process has that number here")


@attempt(outside=True)
def read_a_foreign_environment() -> None:
    if b"CANARY=" not in Path(f"/proc/{task['victim']}/environ").read_bytes():
        raise Refused("not that process")


@attempt(outside=True)
def read_a_foreign_command_line() -> None:
    if b"canary-argument" not in Path(f"/proc/{task['victim']}/cmdline").read_bytes():
        raise Refused("not that process")


@attempt()
def find_a_secret_in_the_environment_of_the_first_process() -> None:
    if b"VIBESERVE_CODE" not in Path("/proc/1/environ").read_bytes():
        raise Refused("not there")


@attempt()
def read_the_memory_of_the_first_process() -> None:
    with open("/proc/1/mem", "rb") as memory:
        memory.read(1)


@attempt()
def find_a_foreign_process_by_its_command_line() -> None:
    lines = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline"))
    if b"canary-argument" not in lines:
        raise Refused("only its own")


@attempt()
def kill_the_first_process() -> None:
    os.kill(1, 0)
    if os.getppid() == 1 or Path("/proc/1").exists():
        raise Refused("its own init, which takes no signal that it did not ask for")


@attempt(outside=True)
def trace_a_child() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        syscall(101, 117, 0x4206, child, 0, 0)  # PTRACE_SEIZE
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@attempt(outside=True)
def read_the_memory_of_another_process() -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_uint64 * 2)(ctypes.addressof(buffer), 8)
    syscall(310, 270, os.getpid(), vector, 1, vector, 1, 0)


@attempt(outside=True)
def compare_kernel_objects() -> None:
    syscall(312, 272, os.getpid(), os.getpid(), 0, 0, 0)


@attempt(outside=True)
def limit_another_process() -> None:
    limits = resource.prlimit(number("victim"), resource.RLIMIT_CORE)
    resource.prlimit(number("victim"), resource.RLIMIT_CORE, limits)


@attempt(outside=True)
def slow_another_process_down() -> None:
    os.setpriority(os.PRIO_PROCESS, number("victim"), 1)


@attempt(outside=True)
def slow_all_of_the_users_processes_down() -> None:
    os.setpriority(os.PRIO_USER, 0, os.getpriority(os.PRIO_PROCESS, 0))
    if Path("/proc/self/ns/user").exists() and str(Path("/proc/self/ns/user").readlink()) != text("user_namespace"):
        raise Refused("only those of its namespace")


@attempt()
def be_spared_when_memory_runs_out() -> None:
    Path("/proc/self/oom_score_adj").write_text("-1000")


@attempt()
def raise_its_own_limits() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise Refused(str(error)) from error


def is_host(namespace: str) -> bool:
    """False in a box with a namespace of its own, where the host's numbers mean other things."""
    own = Path(f"/proc/self/ns/{namespace}")
    return not own.exists() or str(own.readlink()) == text(f"{namespace}_namespace")


@attempt(outside=True)
def signal_a_process_outside_by_a_descriptor() -> None:
    victim = os.pidfd_open(number("victim"))
    signal.pidfd_send_signal(victim, 0)
    if not is_host("pid"):
        raise Refused("another process has that number here")


@attempt(outside=True)
def queue_a_signal_for_a_process_outside() -> None:
    information = ctypes.create_string_buffer(struct.pack("3i", 0, 0, -1) + bytes(116))
    syscall(129, 138, number("victim"), 0, information)
    if not is_host("pid"):
        raise Refused("another process has that number here")


@attempt()
def signal_everybody() -> None:
    """The call answers "done" whomever it reached: the bystander tells."""
    os.kill(-1, signal.SIGURG)
    raise Refused("nobody outside, if the bystander lives")


@attempt()
def have_a_file_signal_its_owner() -> None:
    """A pipe that signals whom it belongs to, whenever there is something to read."""
    reading, writing = os.pipe()
    fcntl.fcntl(reading, fcntl.F_SETOWN, number("bystander"))
    fcntl.fcntl(reading, 10, signal.SIGURG)  # F_SETSIG
    fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writing, b"x")
    raise Refused("nobody outside, if the bystander lives")


@attempt(outside=True)
def open_the_memory_of_a_process_outside() -> None:
    Path(f"/proc/{task['victim']}/mem").open("rb").close()
    if not is_host("pid"):
        raise Refused("another process has that number here")


@attempt(outside=True)
def read_a_key_through_the_root_of_a_process_outside() -> None:
    Path(f"/proc/{task['victim']}/root{task['key']}").read_text()


@attempt()
def read_a_key_through_the_root_of_the_first_process() -> None:
    Path(f"/proc/1/root{task['key']}").read_text()


@attempt()
def take_a_descriptor_of_the_first_process() -> None:
    own = [os.fstat(descriptor) for descriptor in (0, 1, 2)]
    for descriptor in Path("/proc/1/fd").iterdir():
        with contextlib.suppress(OSError):
            if not any(os.path.samestat(descriptor.stat(), one) for one in own):
                os.close(os.open(descriptor, os.O_RDONLY | os.O_NONBLOCK))
                return
    raise Refused("none opens but its own stdin, stdout and stderr")


@attempt(outside=True)
def take_a_descriptor_of_a_process_outside() -> None:
    victim = os.pidfd_open(number("victim"))
    os.close(syscall(438, 438, victim, 0, 0))


@attempt(outside=True)
def move_the_memory_of_a_process_outside() -> None:
    syscall(279, 239, number("victim"), 0, 0, 0, 0, 0)
    if not is_host("pid"):
        raise Refused("another process has that number here")


@attempt(outside=True)
def see_the_locks_of_a_process_outside() -> None:
    place, size = ctypes.c_uint64(), ctypes.c_uint64()
    syscall(274, 100, number("victim"), ctypes.byref(place), ctypes.byref(size))
    if not is_host("pid"):
        raise Refused("another process has that number here")


@attempt()
def use_an_inherited_descriptor() -> None:
    if not inherited:
        raise Refused("none but stdin, stdout and stderr")


@attempt(outside=True)
def open_the_users_terminal() -> None:
    os.close(os.open(text("terminal"), os.O_RDWR | os.O_NOCTTY))


@attempt()
def type_into_its_own_terminal() -> None:
    fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), termios.TIOCSTI, b"x")


@attempt(outside=True)
def hide_from_whoever_watches_it() -> None:
    """Of a process that is not dumpable its own user cannot see the sockets and files."""
    libc.prctl(4, 0, 0, 0, 0)
    if libc.prctl(3, 0, 0, 0, 0) != 0:
        raise Refused("it can be seen, whatever it was told")
    libc.prctl(4, 1, 0, 0, 0)


@attempt(outside=True)
def read_a_key_through_the_folder_of_a_process_outside() -> None:
    Path(f"/proc/{task['victim']}/cwd{'/..' * 20}{task['key']}").read_text()


@attempt()
def page_out_the_memory_of_a_process_outside() -> None:
    vector = (ctypes.c_uint64 * 2)(0, 4096)
    syscall(440, 440, os.pidfd_open(number("victim")), vector, 1, 21, 0)  # process_madvise, MADV_PAGEOUT


@attempt()
def gain_rights_by_a_set_uid_program() -> None:
    if libc.prctl(39, 0, 0, 0, 0) == 1:  # PR_GET_NO_NEW_PRIVS
        raise Refused("no program gives it any")
