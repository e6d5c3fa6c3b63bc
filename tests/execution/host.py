"""A host with things to steal, for boxes that try: used by tests, and by one run as another user."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import pty
import socket
import stat
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vibeserve_tui.errors
from tests.execution import escapes
from tests.execution.escapes.kit import X86
from vibeserve_tui.execution.box import BoxResult, BoxSpec
from vibeserve_tui.execution.launcher import Launcher
from vibeserve_tui.execution.pod import Pod

ESCAPES = Path(escapes.__file__).parent
# The folder above is not shown, so it cannot be searched either.
RUN = """
import importlib.util, sys
folder = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location("escapes", f"{folder}/__init__.py", submodule_search_locations=[folder])
sys.modules["escapes"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["escapes"])
from escapes.run import main
main()
"""
# Dies of the signal that a box is to try on everybody: harmless to whoever did not ask for it.
BYSTANDER = (
    "import os, signal, time; signal.signal(signal.SIGURG, lambda *_: os._exit(1)); print(flush=True); time.sleep(300)"
)
# A server in a pod of its own, with a note in each of its places; what its tier does not give it, it does without.
NEIGHBOUR = """
import contextlib, os, socket, sys
port, token = int(sys.argv[1]), sys.argv[2]
for place in (os.environ["TMPDIR"] + "/note", "/dev/shm/" + token):
    with contextlib.suppress(OSError), open(place, "w") as note:
        note.write("not yours")
with contextlib.suppress(OSError):
    named = socket.socket(socket.AF_UNIX)
    named.bind("\\0" + token)
    named.listen()
with socket.create_server(("127.0.0.1", port)) as server:
    print(os.environ["TMPDIR"], flush=True)
    while True:
        with server.accept()[0] as client:
            client.sendall(b"the neighbour")
"""
IPC_STAT, IPC_RMID = 2, 0
ADD_KEY, KEYCTL = ((248,), (250,)) if X86 else ((217,), (219,))
UNLINK, USERS_KEYRING = 9, -4
libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Outside:
    """What the host has that a box must not get at, and what a box is given."""

    folder: Path
    task: dict[str, str | int]
    arguments: Path
    processes: tuple[subprocess.Popen[bytes], ...]

    def command(self, *more: str) -> tuple[str, ...]:
        return (sys.executable, "-I", "-S", "-c", RUN, str(ESCAPES), str(self.arguments), *more)

    def harm(self) -> list[str]:
        """What the attempts did to the host, whatever they were answered."""
        found = [f"process {one.args} ended" for one in self.processes if one.poll() is not None]
        key, home = self.folder / "home" / "key", self.folder / "home"
        if not key.exists() or key.read_text() != "secret":
            found.append("the key is gone or changed")
        if [path.name for path in home.iterdir() if path.name.startswith("planted")]:
            found.append("something was planted in the home")
        if [path.name for path in (self.folder / "checkout").iterdir() if path.name not in ("server.py", "link")]:
            found.append("something was planted in the checkout")
        if (self.folder / "checkout" / "server.py").read_text() != "pass":
            found.append("the checkout was changed")
        found += [
            f"{path} is set-uid"
            for path in self.folder.rglob("*")
            if path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID)
        ]
        if Path(tempfile.gettempdir(), str(self.task["token"])).exists():
            found.append("something was planted in /tmp")
        return found + _ipc_harm(self.task)


def _ipc_harm(task: dict[str, str | int]) -> list[str]:
    buffer = ctypes.create_string_buffer(4096)
    shared, semaphores, messages = (int(task[name]) for name in ("shared_memory", "semaphores", "messages"))
    left = {
        "the shared memory": libc.shmctl(shared, IPC_STAT, buffer) == 0,
        "the semaphores": libc.semctl(semaphores, 0, 12) == 0,  # GETVAL: as they were made
        "the messages": libc.msgrcv(messages, buffer, 1024, 0, 0o4000 | 0o40000) >= 0,  # MSG_COPY of the first
    }
    return [f"{name} are gone or changed" for name, sound in left.items() if not sound]


@contextlib.contextmanager
def prepared_host(folder: Path) -> Iterator[Outside]:
    token = f"vibeserve-test-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        processes = tuple(
            stack.enter_context(_sleeper(*how)) for how in (("time.sleep(300)", "victim"), (BYSTANDER, ""))
        )
        task = {
            **_files(stack, folder, token), **_sockets(stack, folder, token), **_ipc(stack, token),
            "token": token,
            "victim": processes[0].pid,
            "bystander": processes[1].pid,
            "engine": vibeserve_tui.errors.__file__,
            **{f"{kind}_namespace": str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("pid", "user", "net")},
        }  # fmt: skip
        arguments = folder / "given" / "task.json"
        arguments.write_text(json.dumps(task))
        yield Outside(folder, task, arguments, processes)


@contextlib.contextmanager
def _sleeper(source: str, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Ready when this is entered."""
    source = source if source == BYSTANDER else f"import time; print(flush=True); {source}"
    argv = [sys.executable, "-I", "-S", "-c", source, *(["canary-argument"] if name else [])]
    with subprocess.Popen(argv, env={"CANARY": "x"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def _files(stack: contextlib.ExitStack, folder: Path, token: str) -> dict[str, str | int]:
    for name in ("checkout", "build", "home", "scratch", "given"):
        (folder / name).mkdir()
    (folder / "home" / "key").write_text("secret")
    (folder / "home" / "program").write_text("#!/bin/sh\n")
    (folder / "home" / "program").chmod(0o755)
    (folder / "scratch" / "note").write_text("not yours")
    (folder / "checkout" / "server.py").write_text("pass")
    (folder / "checkout" / "link").symlink_to(folder / "home" / "key")
    ours, theirs = pty.openpty()
    stack.callback(os.close, ours)
    stack.callback(os.close, theirs)
    shown = {"tmp_file": Path(tempfile.gettempdir(), f"{token}-file"), "shm_file": Path("/dev/shm", f"{token}-file")}  # noqa: S108
    for path in shown.values():
        path.write_text("not yours")
        stack.callback(path.unlink)
    return {
        **{name: str(path) for name, path in shown.items()},
        **{name: str(folder / name) for name in ("checkout", "build", "scratch")},
        "key": str(folder / "home" / "key"),
        "program": str(folder / "home" / "program"),
        "link": str(folder / "checkout" / "link"),
        "terminal": os.ttyname(theirs),
    }


def _sockets(stack: contextlib.ExitStack, folder: Path, token: str) -> dict[str, str | int]:
    host = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    host_6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    datagrams.bind(("127.0.0.1", 0))
    with socket.create_server(("127.0.0.1", 0)) as free:
        free_port = free.getsockname()[1]
    for address in ("\0" + token, str(folder / "home" / "socket")):
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(address)
        listener.listen()
    for address in (f"\0{token}-datagrams", str(folder / "home" / "datagrams")):
        stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(address)
    return {
        "unix_socket": str(folder / "home" / "socket"),
        "unix_datagrams": str(folder / "home" / "datagrams"),
        "host_port": host.getsockname()[1],
        "host_port_6": host_6.getsockname()[1],
        "host_datagrams": datagrams.getsockname()[1],
        "free_port": free_port,
    }


def _ipc(stack: contextlib.ExitStack, token: str) -> dict[str, str | int]:
    shared, semaphores = libc.shmget(0, 4096, 0o1600), libc.semget(0, 1, 0o1600)
    stack.callback(libc.shmctl, shared, IPC_RMID, None)
    stack.callback(libc.semctl, semaphores, 0, IPC_RMID)
    messages = libc.msgget(0, 0o1600)
    stack.callback(libc.msgctl, messages, IPC_RMID, None)
    assert libc.msgsnd(messages, ctypes.c_char_p(b"\1" + bytes(7) + b"mail"), 4, 0) == 0
    queue = libc.mq_open(f"/{token}".encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    assert queue >= 0
    stack.callback(libc.mq_unlink, f"/{token}".encode())
    stack.callback(os.close, queue)
    key = libc.syscall(*ADD_KEY, b"user", token.encode(), b"x", 1, USERS_KEYRING)
    stack.callback(libc.syscall, *KEYCTL, UNLINK, key, USERS_KEYRING)
    return {"shared_memory": shared, "semaphores": semaphores, "messages": messages}


async def candidates_result(launcher: Launcher, outside: Outside) -> BoxResult:
    """What a candidate's box says to all attempts, while a neighbour lives in a pod of its own."""
    own, other = await launcher.open_pod(), await launcher.open_pod()
    said = outside.folder / f"neighbour-{uuid.uuid4().hex}"
    argv = (sys.executable, "-I", "-S", "-c", NEIGHBOUR, str(other.port), f"{outside.task['token']}-neighbour")
    process = await other.start("neighbour", BoxSpec(argv, cwd=Path("/"), log=said, serves=True))
    while not (scratch := said.read_text().strip()):
        assert process.returncode is None
        await asyncio.sleep(0.01)
    neighbour = {"PORT": str(other.port), "PID": str(process.pid), "SCRATCH": scratch}
    box = candidates_box(outside, own, {f"NEIGHBOUR_{name}": value for name, value in neighbour.items()})
    result = await own.run("server", box, timeout_s=60)
    assert process.returncode is None, said.read_text()
    await own.close()
    await other.close()
    return result


def candidates_box(outside: Outside, pod: Pod, env: dict[str, str]) -> BoxSpec:
    """As a server is boxed: its checkout to read, its build folder to write, its cores."""
    folder = outside.folder
    return BoxSpec(
        outside.command(),
        cwd=folder / "checkout",
        env={"PORT": str(pod.port), **env},
        read_only=(folder / "checkout", outside.arguments.parent, ESCAPES),
        writable=(folder / "build",),
        cores=pod.server_cores,
        serves=True,
    )
