"""What a box could do to a measurement beside it, to whoever writes a file that it is shown, and to the disk."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
from pathlib import Path

from .kit import Refused, attempt, number, syscall, text
from .processes import is_host

REAL_TIME = 1
TEBIBYTE = 1 << 40


@attempt()
def move_to_the_load_generators_core() -> None:
    before = os.sched_getaffinity(0)
    everywhere = set(range(os.cpu_count() or 1))
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, everywhere)
    if os.sched_getaffinity(0) <= before:
        raise Refused("it stays where it was put, whatever it is told")


@attempt()
def move_a_process_outside_to_another_core() -> None:
    before = os.sched_getaffinity(number("victim"))
    os.sched_setaffinity(number("victim"), {min(before)})
    after = os.sched_getaffinity(number("victim"))
    os.sched_setaffinity(number("victim"), before)
    if after == before or not is_host("pid"):
        raise Refused("it stays where it was")


@attempt()
def become_a_real_time_process() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(REAL_TIME))


@attempt()
def reserve_a_core_by_deadlines() -> None:
    attributes = struct.pack("=IIQiIQQQ", 48, 6, 0, 0, 0, 1_000_000, 10_000_000, 10_000_000)
    syscall(314, 274, 0, ctypes.c_char_p(attributes), 0)


@attempt()
def come_before_all_others_on_its_core() -> None:
    os.setpriority(os.PRIO_PROCESS, 0, -10)


@attempt()
def come_before_all_others_at_the_disk() -> None:
    syscall(251, 30, 1, 0, 1 << 13)


@attempt()
def turn_a_core_off() -> None:
    cores = sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/online"))
    if not cores:
        raise Refused("none can be turned off here")
    cores[-1].open("w").close()


@attempt()
def empty_the_page_cache() -> None:
    Path("/proc/sys/vm/drop_caches").open("w").close()


@attempt()
def hold_up_whoever_writes_a_shown_file() -> None:
    """A lease: the kernel lets the next writer wait for 45 seconds."""
    with Path(text("checkout"), "server.py").open() as shown:
        fcntl.fcntl(shown, fcntl.F_SETLEASE, fcntl.F_RDLCK)


@attempt()
def be_told_of_changes_to_a_shown_folder() -> None:
    folder = os.open(text("checkout"), os.O_RDONLY)
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_CREATE)


@attempt()
def change_the_mode_of_a_device() -> None:
    """Of the host's own: a box of root could close /dev/null to everybody."""
    Path("/dev/null").chmod(0o666)


@attempt()
def change_the_times_of_a_device() -> None:
    os.utime("/dev/null", (0, 0))


@attempt()
def give_a_device_away() -> None:
    os.chown("/dev/null", 12345, 12345)


@attempt()
def make_a_sparse_file_of_a_tebibyte() -> None:
    with Path(text("build"), "sparse").open("wb") as file:
        file.truncate(TEBIBYTE)


@attempt()
def reserve_a_tebibyte_on_the_disk() -> None:
    with Path(text("build"), "reserved").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, TEBIBYTE)


@attempt()
def have_a_socket_signal_its_owner() -> None:
    """Out-of-band data is told to whom a socket belongs."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        fcntl.ioctl(theirs, 0x8901, struct.pack("i", number("bystander")))  # FIOSETOWN
        ours.send(b"x", socket.MSG_OOB)
    raise Refused("nobody outside, if the bystander lives")


@attempt()
def stop_its_keeper() -> None:
    """Whoever waits for the box would wait for ever."""
    keeper = os.getppid()
    os.kill(keeper, signal.SIGSTOP)
    state = Path(f"/proc/{keeper}/stat").read_text().rpartition(")")[2].split()[0]
    if state not in "tT":
        raise Refused("an init takes no signal that it did not ask for")


@attempt()
def limit_its_keeper() -> None:
    """Without a process namespace of its own that would be a process of the host."""
    resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
    if not is_host("pid"):
        raise Refused("its own init")


@attempt()
def bend_the_clock() -> None:
    syscall(159, 171, ctypes.create_string_buffer(struct.pack("=IIqqqqiiqqqqqqqqq", 2, *[0] * 16) + bytes(256)))


@attempt()
def wake_the_machine_from_its_sleep() -> None:
    os.close(syscall(283, 85, 8, 0))  # timerfd of CLOCK_REALTIME_ALARM


@attempt()
def hang_up_its_terminal() -> None:
    syscall(153, 58)


@attempt()
def change_the_disks_quota() -> None:
    syscall(179, 60, 0x800003 << 8, 0, 0, 0)


@attempt()
def open_a_console() -> None:
    for name in ("console", "tty0", "tty1", "kmsg", "vcs"):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
            return
    raise Refused("none is there")
