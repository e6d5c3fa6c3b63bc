"""Runs inside a box and tries to get out: one function an attempt, an OSError is a refusal.

    python escapes.py TASK.json [harmless]

prints one JSON object: the attempt's name, and why it was refused or "" if it was not. `harmless`
runs those that may be tried outside of a box too, where they must succeed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

X86 = platform.machine() == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
task: dict[str, str | int] = {}
attempts: dict[str, Callable[[], object]] = {}
harmless: set[str] = set()


class Refused(OSError):
    pass


def attempt(*, outside: bool = False) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def register(function: Callable[[], object]) -> Callable[[], object]:
        name = function.__name__
        attempts[name] = function
        if outside:
            harmless.add(name)
        return function

    return register


def syscall(x86: int, arm: int, *arguments: object) -> int:
    words = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = libc.syscall(ctypes.c_long(x86 if X86 else arm), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def text(name: str) -> str:
    value = task[name]
    assert isinstance(value, str)
    return value


def number(name: str) -> int:
    value = task[name]
    assert isinstance(value, int)
    return value


# files


@attempt(outside=True)
def read_a_key_in_a_home() -> None:
    Path(text("key")).read_text()


@attempt(outside=True)
def read_a_key_through_a_link_in_the_workspace() -> None:
    Path(text("link")).read_text()


@attempt(outside=True)
def read_a_key_through_its_own_new_link() -> None:
    link = Path(text("build"), "own-link")
    link.symlink_to(text("key"))
    try:
        link.read_text()
    finally:
        link.unlink()


@attempt(outside=True)
def list_the_folder_of_the_key() -> None:
    list(Path(text("key")).parent.iterdir())


@attempt(outside=True)
def read_the_engine() -> None:
    Path(text("engine")).read_text()


@attempt()
def read_the_passwords() -> None:
    Path("/etc/shadow").read_text()


@attempt()
def read_private_tls_keys() -> None:
    if not list(Path("/etc/ssl/private").iterdir()):
        raise Refused("empty")


@attempt(outside=True)
def read_another_box_scratch() -> None:
    Path(text("scratch"), "note").read_text()


@attempt()
def write_into_the_checkout() -> None:
    Path(text("checkout"), "new").write_text("x")


@attempt()
def overwrite_a_file_of_the_checkout() -> None:
    Path(text("checkout"), "server.py").write_text("x")


@attempt()
def rename_a_file_of_the_checkout() -> None:
    Path(text("checkout"), "server.py").rename(Path(text("checkout"), "gone.py"))


@attempt()
def delete_a_file_of_the_checkout() -> None:
    Path(text("checkout"), "server.py").unlink()


@attempt()
def rename_the_checkout() -> None:
    Path(text("checkout")).rename(text("checkout") + "-gone")


@attempt()
def chmod_a_file_of_the_checkout() -> None:
    Path(text("checkout"), "server.py").chmod(0o777)


@attempt()
def link_a_file_of_the_checkout_to_a_writable_place() -> None:
    os.link(Path(text("checkout"), "server.py"), Path(text("build"), "server.py"))


@attempt()
def write_into_the_interpreter() -> None:
    Path(os.__file__).with_name("planted.py").write_text("x")


@attempt()
def write_into_the_system() -> None:
    Path("/usr/planted").write_text("x")


@attempt()
def write_beside_the_workspace() -> None:
    Path(text("checkout")).with_name("planted").write_text("x")
    if not Path(text("scratch"), "note").exists():
        raise Refused("only in its own scratch space")


@attempt()
def plant_a_file_in_the_hosts_tmp() -> None:
    Path("/", "tmp", text("token")).write_text("x")
    if not Path(text("scratch"), "note").exists():
        raise Refused("only in its own scratch space")


@attempt(outside=True)
def open_a_file_by_handle() -> None:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 8, 1) + bytes(64))
    try:
        syscall(304, 265, -1, handle, 0)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise


@attempt()
def make_a_disk_device() -> None:
    os.mknod(Path(text("build"), "disk"), 0o660 | 0o060000, os.makedev(254, 0))
    os.open(Path(text("build"), "disk"), os.O_RDONLY)


@attempt()
def open_the_machines_memory() -> None:
    os.open("/dev/mem", os.O_RDONLY)


# other processes


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


@attempt(outside=True)
def attach_the_users_shared_memory() -> None:
    syscall(30, 196, number("shared_memory"), 0, 0o10000)


@attempt()
def be_spared_when_memory_runs_out() -> None:
    Path("/proc/self/oom_score_adj").write_text("-1000")


@attempt()
def raise_its_own_limits() -> None:
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except ValueError as error:
        raise Refused(str(error)) from error


# the network


def connect(family: int, address: object) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)


@attempt(outside=True)
def connect_to_the_hosts_loopback() -> None:
    connect(socket.AF_INET, ("127.0.0.1", number("host_port")))


@attempt(outside=True)
def connect_to_an_abstract_socket() -> None:
    connect(socket.AF_UNIX, "\0" + text("token"))


@attempt(outside=True)
def connect_to_a_socket_in_the_hosts_files() -> None:
    connect(socket.AF_UNIX, text("unix_socket"))


@attempt()
def connect_to_the_internet() -> None:
    connect(socket.AF_INET, ("192.0.2.1", 443))


@attempt()
def connect_to_the_internet_by_ipv6() -> None:
    connect(socket.AF_INET6, ("2001:db8::1", 443))


@attempt()
def send_a_datagram() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))


@attempt()
def send_a_datagram_to_the_hosts_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.connect(("127.0.0.1", number("host_datagrams")))
        sender.send(b"x")
        sender.send(b"x")  # an answer "nobody there" to the first one arrives here


@attempt(outside=True)
def connect_by_multipath_tcp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        client.settimeout(2)
        client.connect(("127.0.0.1", number("host_port")))


@attempt(outside=True)
def send_by_fast_open() -> None:
    """Connects without a call of connect."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.sendto(b"x", 0x20000000, ("127.0.0.1", number("host_port")))


@attempt()
def listen_for_the_local_network() -> None:
    with socket.socket() as server:
        server.bind(("", number("free_port")))
        server.listen()
        if Path("/proc/self/ns/net").exists() and str(Path("/proc/self/ns/net").readlink()) != text("net_namespace"):
            raise Refused("only in its own network")


@attempt()
def listen_on_any_port_without_binding() -> None:
    with socket.socket() as server:
        server.listen()
        if Path("/proc/self/ns/net").exists() and str(Path("/proc/self/ns/net").readlink()) != text("net_namespace"):
            raise Refused("only in its own network")


@attempt(outside=True)
def open_a_vsock() -> None:
    socket.socket(40, socket.SOCK_STREAM).close()


@attempt(outside=True)
def open_a_packet_socket() -> None:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


@attempt()
def open_the_kernels_cryptography() -> None:
    socket.socket(38, socket.SOCK_SEQPACKET).close()


@attempt(outside=True)
def open_a_raw_socket() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()


@attempt(outside=True)
def open_generic_netlink() -> None:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16).close()


# the kernel


@attempt(outside=True)
def use_the_users_keyring() -> None:
    syscall(250, 219, 0, -3, 1)


@attempt(outside=True)
def add_a_key() -> None:
    syscall(248, 217, ctypes.c_char_p(b"user"), ctypes.c_char_p(b"vibeserve-test"), ctypes.c_char_p(b"x"), 1, -2)


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


def main() -> None:
    task.update(json.loads(Path(sys.argv[1]).read_text()))
    outcomes = {}
    for name, action in attempts.items():
        if len(sys.argv) > 2 and name not in harmless:
            continue
        try:
            action()
        except OSError as error:
            outcomes[name] = str(error) or type(error).__name__
        else:
            outcomes[name] = ""
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    main()
