"""What the kernel answers to anybody, and what it keeps to those with rights."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import socket
import struct
from pathlib import Path

from .kit import X86, Refused, attempt, libc, syscall, text


@attempt(outside=True)
def use_the_users_keyring() -> None:
    syscall(250, 219, 0, -3, 1)


@attempt(outside=True)
def add_a_key() -> None:
    syscall(248, 217, ctypes.c_char_p(b"user"), ctypes.c_char_p(b"vibeserve-test"), ctypes.c_char_p(b"x"), 1, -2)


@attempt(outside=True)
def read_what_the_users_keys_are_called() -> None:
    if text("token") not in Path("/proc/keys").read_text():
        raise Refused("not listed")


@attempt()
def read_the_kernels_memory() -> None:
    Path("/proc/kcore").open("rb").close()


@attempt()
def look_at_the_machines_pages() -> None:
    for name in ("kpagecount", "kpageflags", "kpagecgroup", "slabinfo", "vmallocinfo"):
        try:
            with Path("/proc", name).open("rb") as file:
                if file.read(64):
                    return
        except OSError:
            continue
    raise Refused("nothing is in them")


@attempt()
def open_a_device_that_leads_to_the_kernel() -> None:
    for name in ("kvm", "fuse", "net/tun", "vhost-vsock", "vhost-net", "loop-control", "mapper/control", "uinput", "vfio/vfio",
                 "userfaultfd", "nvram", "port", "rtc0", "snapshot", "input/event0", "hwrng", "cuse", "btrfs-control"):  # fmt: skip
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK))
        except OSError:
            continue
        return
    raise Refused("none is there")


@attempt()
def list_the_hosts_mounts() -> None:
    request = ctypes.create_string_buffer(struct.pack("=IIQQ", 24, 0, 0xFFFFFFFFFFFFFFFF, 0))
    syscall(458, 458, request, ctypes.create_string_buffer(4096), 512, 0)


@attempt()
def take_a_core_for_itself_alone() -> None:
    if libc.prctl(62, 1, 0, 0, 0) != 0:  # PR_SCHED_CORE_CREATE: nobody else on the core's other half
        raise OSError(ctypes.get_errno(), "prctl")


@attempt()
def list_the_hosts_sockets() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4).close()  # sock_diag


@attempt(outside=True)
def hear_of_the_machines_devices() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 15).close()  # kobject_uevent


@attempt()
def call_by_the_numbers_of_another_architecture() -> None:
    """`getpid` through the gate of 32-bit programs, in a child that may be killed for it."""
    if not X86:
        raise Refused("this machine has none")
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20; int 0x80; ret
    child = os.fork()
    if child == 0:
        os._exit(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))() != os.getpid())
    if os.waitpid(child, 0)[1] != 0:
        raise Refused("killed for it")


@attempt()
def make_another_network() -> None:
    pid = syscall(56, 220, 0x40000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@attempt(outside=True)
def use_io_uring() -> None:
    os.close(syscall(425, 425, 4, ctypes.create_string_buffer(120)))


@attempt(outside=True)
def use_userfaultfd() -> None:
    os.close(syscall(323, 282, 1))


@attempt(outside=True)
def load_a_bpf_program() -> None:
    try:
        syscall(321, 280, 0, ctypes.create_string_buffer(8), 8)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise


@attempt()
def count_performance_events() -> None:
    syscall(298, 241, ctypes.create_string_buffer(struct.pack("II", 1, 112) + bytes(104)), 0, -1, -1, 0)


@attempt()
def make_a_user_namespace() -> None:
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


@attempt()
def make_a_user_namespace_by_clone() -> None:
    pid = syscall(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@attempt()
def make_a_user_namespace_by_clone3() -> None:
    arguments = struct.pack("11Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, *[0] * 6)
    pid = syscall(435, 435, ctypes.c_char_p(arguments), len(arguments))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@attempt()
def join_another_namespace() -> None:
    descriptor = os.open("/proc/self/ns/net", os.O_RDONLY)
    if libc.setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@attempt()
def hold_capabilities() -> None:
    held = (ctypes.c_uint32 * 6)()
    libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), held)
    if not any(held):
        raise Refused("none")


def mount(source: str, target: str, kind: str, flags: int) -> None:
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), "mount")


@attempt()
def mount_something() -> None:
    mount("tmpfs", text("build"), "tmpfs", 0)


@attempt()
def remount_the_checkout_writable() -> None:
    mount("none", text("checkout"), "none", 0x1000 | 0x20)


@attempt()
def unmount_the_checkout() -> None:
    if libc.umount2(text("checkout").encode(), 2) != 0:
        raise OSError(ctypes.get_errno(), "umount2")


@attempt()
def open_a_mount_tree() -> None:
    syscall(428, 428, -100, ctypes.c_char_p(b"/"), 1)


@attempt()
def change_its_root() -> None:
    os.chroot(text("build"))


@attempt()
def rename_the_host() -> None:
    socket.sethostname(socket.gethostname())


@attempt()
def set_the_clock() -> None:
    import time

    time.clock_settime(time.CLOCK_REALTIME, time.time())


@attempt()
def become_another_user() -> None:
    os.setresuid(12345, 12345, 12345)


@attempt()
def leave_its_groups() -> None:
    os.setgroups([12345])


@attempt()
def change_a_kernel_setting() -> None:
    Path("/proc/sys/kernel/core_pattern").open("w").close()


@attempt()
def trigger_a_kernel_function() -> None:
    Path("/proc/sysrq-trigger").open("w").close()


@attempt()
def allow_user_namespaces_again() -> None:
    Path("/proc/sys/user/max_user_namespaces").write_text("100")


@attempt()
def call_by_the_x32_numbers() -> None:
    if libc.syscall(ctypes.c_long(0x40000000 | 39)) < 0:
        raise OSError(ctypes.get_errno(), "x32")


@attempt()
def share_its_mounts_with_the_host() -> None:
    mount("none", "/", "none", 0x4000 | 1 << 20)


@attempt()
def make_a_file_system_by_the_new_calls() -> None:
    os.close(syscall(430, 430, ctypes.c_char_p(b"tmpfs"), 0))


@attempt()
def pick_a_file_system_to_change_it() -> None:
    os.close(syscall(433, 433, -100, ctypes.c_char_p(b"/"), 0))


@attempt()
def read_the_kernels_log() -> None:
    syscall(103, 116, 3, ctypes.create_string_buffer(64), 64)


@attempt()
def load_another_kernel_from_a_file() -> None:
    syscall(320, 294, -1, -1, 0, 0, 0)


@attempt()
def watch_a_whole_file_system() -> None:
    os.close(syscall(300, 262, 0x200, 0))


@attempt()
def read_the_machines_ports() -> None:
    if not X86:
        raise Refused("this machine has none")
    syscall(173, -1, 0x80, 1, 1)
