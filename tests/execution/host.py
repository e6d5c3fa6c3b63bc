"""A host with things to steal, for boxes that try: used by tests, and by one run as another user."""

from __future__ import annotations

import contextlib
import ctypes
import json
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import vibeserve_tui.errors
from tests.execution import escapes
from vibeserve_tui.execution.box import BoxSpec


@dataclass(frozen=True)
class Outside:
    """What the host has that a box must not get at, and what a box is given."""

    folder: Path
    task: dict[str, str | int]
    arguments: Path


@contextlib.contextmanager
def prepared_host(folder: Path) -> Iterator[Outside]:
    for name in ("checkout", "build", "home", "scratch", "given"):
        (folder / name).mkdir()
    (folder / "home" / "key").write_text("secret")
    (folder / "scratch" / "note").write_text("not yours")
    (folder / "checkout" / "server.py").write_text("pass")
    (folder / "checkout" / "link").symlink_to(folder / "home" / "key")
    token = f"vibeserve-test-{uuid.uuid4().hex}"
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        with socket.create_server(("127.0.0.1", 0)) as free:
            free_port = free.getsockname()[1]
        for address in ("\0" + token, str(folder / "home" / "socket")):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        sleeper = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(300)", "canary-argument"]
        victim = stack.enter_context(subprocess.Popen(sleeper, env={"CANARY": "x"}, stdout=subprocess.DEVNULL))
        stack.callback(victim.kill)
        libc = ctypes.CDLL(None)
        shared_memory = libc.shmget(0, 4096, 0o1600)
        stack.callback(libc.shmctl, shared_memory, 0, None)
        task: dict[str, str | int] = {
            "shared_memory": shared_memory,
            "key": str(folder / "home" / "key"),
            "link": str(folder / "checkout" / "link"),
            "engine": vibeserve_tui.errors.__file__,
            "checkout": str(folder / "checkout"),
            "build": str(folder / "build"),
            "scratch": str(folder / "scratch"),
            "unix_socket": str(folder / "home" / "socket"),
            "token": token,
            "victim": victim.pid,
            "host_port": host.getsockname()[1],
            "host_datagrams": datagrams.getsockname()[1],
            "free_port": free_port,
            "pid_namespace": str(Path("/proc/self/ns/pid").readlink()),
            "user_namespace": str(Path("/proc/self/ns/user").readlink()),
            "net_namespace": str(Path("/proc/self/ns/net").readlink()),
        }
        arguments = folder / "given" / "task.json"
        arguments.write_text(json.dumps(task))
        yield Outside(folder, task, arguments)


def candidates_box(outside: Outside) -> BoxSpec:
    """As a server is boxed: its checkout to read, its build folder to write."""
    folder = outside.folder
    argv = (sys.executable, "-I", "-S", escapes.__file__, str(outside.arguments))
    return BoxSpec(
        argv,
        cwd=folder / "checkout",
        read_only=(folder / "checkout", outside.arguments.parent, Path(escapes.__file__)),
        writable=(folder / "build",),
    )
