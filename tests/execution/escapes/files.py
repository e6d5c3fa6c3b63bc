"""Files that a box was not shown, and files that it was shown to read only."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from pathlib import Path

from .kit import Refused, attempt, checked, libc, syscall, text


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


@attempt(outside=True)
def read_a_key_from_a_folder_opened_before() -> None:
    folder = os.open(Path(text("key")).parent, os.O_PATH)
    os.close(os.open("key", os.O_RDONLY, dir_fd=folder))


@attempt(outside=True)
def read_a_file_in_the_hosts_tmp() -> None:
    Path(text("tmp_file")).read_text()


@attempt(outside=True)
def read_a_file_in_the_hosts_shared_memory() -> None:
    Path(text("shm_file")).read_text()


@attempt(outside=True)
def watch_what_happens_in_a_home() -> None:
    watching = checked(libc.inotify_init())
    checked(libc.inotify_add_watch(watching, str(Path(text("key")).parent).encode(), 0x100))
    os.close(watching)


@attempt(outside=True)
def run_a_program_of_the_host() -> None:
    os.waitpid(os.posix_spawn(text("program"), [text("program")], {}), 0)


@attempt()
def empty_a_key() -> None:
    os.truncate(text("key"), 0)


@attempt()
def delete_a_key() -> None:
    Path(text("key")).unlink()


@attempt()
def put_something_in_a_keys_place() -> None:
    own = Path(text("build"), "own-key")
    own.write_text("x")
    own.rename(text("key"))


@attempt()
def make_a_folder_in_a_home() -> None:
    Path(text("key")).with_name("planted").mkdir()


@attempt()
def link_a_key_to_a_writable_place() -> None:
    os.link(text("key"), Path(text("build"), "linked-key"))


@attempt()
def link_an_open_file_of_the_checkout_to_a_writable_place() -> None:
    source = os.open(Path(text("checkout"), "server.py"), os.O_RDONLY)
    name = ctypes.c_char_p(str(Path(text("build"), "linked.py")).encode())
    syscall(265, 37, source, ctypes.c_char_p(b""), -100, name, 0x1000)


@attempt()
def exchange_a_file_of_the_checkout_for_its_own() -> None:
    own = Path(text("build"), "own.py")
    own.write_text("x")
    theirs = Path(text("checkout"), "server.py")
    names = [ctypes.c_char_p(str(path).encode()) for path in (own, theirs)]
    syscall(316, 276, -100, names[0], -100, names[1], 2)


@attempt()
def open_its_checkout_again_to_write() -> None:
    reading = os.open(Path(text("checkout"), "server.py"), os.O_RDONLY)
    os.close(os.open(f"/proc/self/fd/{reading}", os.O_WRONLY))


@attempt()
def write_into_a_control_group() -> None:
    found = [path for path in Path("/sys/fs/cgroup").rglob("cgroup.procs") if os.access(path, os.W_OK)]
    if not found:
        raise Refused("none is shown")
    found[0].open("w").close()


@attempt()
def put_a_note_on_a_file_of_the_checkout() -> None:
    os.setxattr(Path(text("checkout"), "server.py"), "user.note", b"x")


@attempt()
def open_a_file_of_the_checkout_to_everybody_by_its_access_list() -> None:
    entries = ((1, 6, -1), (4, 4, -1), (32, 6, -1))  # owner, group, others
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    os.setxattr(Path(text("checkout"), "server.py"), "system.posix_acl_access", access)


@attempt()
def learn_which_machine_it_is_on() -> None:
    for path in ("/etc/machine-id", "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/board_serial", "/etc/hostid"):
        try:
            Path(path).read_text()
        except OSError:
            continue
        return
    raise Refused("nothing tells")


# a set-uid program left behind would lend the user's rights to whoever comes across it


def left_set_uid(name: str) -> None:
    if not (Path(text("build"), name).stat().st_mode & 0o6000):
        raise Refused("the bits are not there")


@attempt()
def leave_a_set_uid_program() -> None:
    Path(text("build"), "set-uid").touch()
    Path(text("build"), "set-uid").chmod(0o4755)
    left_set_uid("set-uid")


@attempt()
def leave_a_set_gid_program_by_its_descriptor() -> None:
    with Path(text("build"), "set-gid").open("w") as file:
        os.fchmod(file.fileno(), 0o2755)
    left_set_uid("set-gid")


@attempt()
def leave_a_set_uid_program_by_its_folder() -> None:
    folder = os.open(text("build"), os.O_RDONLY)
    Path(text("build"), "set-uid-at").touch()
    syscall(268, 53, folder, ctypes.c_char_p(b"set-uid-at"), 0o4755)
    left_set_uid("set-uid-at")


@attempt()
def leave_a_set_uid_program_by_the_newest_call() -> None:
    Path(text("build"), "set-uid-new").touch()
    syscall(452, 452, -100, ctypes.c_char_p(str(Path(text("build"), "set-uid-new")).encode()), 0o4755, 0)
    left_set_uid("set-uid-new")


@attempt()
def create_a_set_uid_program() -> None:
    os.umask(0)
    os.close(os.open(Path(text("build"), "born-set-uid"), os.O_CREAT | os.O_WRONLY, 0o4755))
    left_set_uid("born-set-uid")


@attempt()
def create_a_set_uid_program_by_the_newest_call() -> None:
    how = struct.pack("3Q", os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    path = ctypes.c_char_p(str(Path(text("build"), "born-new")).encode())
    os.close(syscall(437, 437, -100, path, ctypes.c_char_p(how), len(how)))
    left_set_uid("born-new")


@attempt()
def make_a_set_uid_node() -> None:
    os.mknod(Path(text("build"), "set-uid-node"), 0o104755)
    left_set_uid("set-uid-node")
