"""What a candidate's box must refuse, tried from inside, on every tier."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

import vibeserve_tui.errors
from tests.execution import escapes
from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Without a mount namespace names can be seen and the caller's own files changed in mode.
KNOWN_RESIDUE = {Tier.LANDLOCK: {"chmod_a_file_of_the_checkout"}}
ESCAPED = ""


@dataclass(frozen=True)
class Outside:
    """What the host has that a box must not get at, and what a box is given."""

    folder: Path
    task: dict[str, str | int]
    arguments: Path


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("host")
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
        sleep = ["sh", "-c", "sleep 300; :", "canary-argument"]
        victim = stack.enter_context(subprocess.Popen(sleep, env={"CANARY": "x", "PATH": "/usr/bin:/bin"}))
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
            "pid_namespace": os.readlink("/proc/self/ns/pid"),
            "user_namespace": os.readlink("/proc/self/ns/user"),
            "net_namespace": os.readlink("/proc/self/ns/net"),
        }
        arguments = folder / "given" / "task.json"
        arguments.write_text(json.dumps(task))
        yield Outside(folder, task, arguments)


def candidates_box(outside: Outside, argv: tuple[str, ...], **changes: object) -> BoxSpec:
    folder = outside.folder
    return BoxSpec(
        argv,
        cwd=folder / "checkout",
        read_only=(folder / "checkout", outside.arguments.parent, Path(escapes.__file__)),
        writable=(folder / "build",),
        **changes,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def outcomes(launcher: Launcher, outside: Outside) -> AsyncIterator[dict[str, str]]:
    pod = await launcher.open_pod()
    argv = (sys.executable, "-I", "-S", escapes.__file__, str(outside.arguments))
    result = await pod.run("server", candidates_box(outside, argv), timeout_s=60)
    assert result.returncode == 0, result
    yield json.loads(result.stdout)
    await pod.close()


@pytest.mark.parametrize("attempt", escapes.attempts)
async def test_refused(outcomes: dict[str, str], tier: Tier, attempt: str):
    if attempt not in KNOWN_RESIDUE.get(tier, set()):
        assert outcomes[attempt] != ESCAPED


def test_outside_of_a_box_the_same_attempts_succeed(outside: Outside):
    argv = [sys.executable, "-I", "-S", escapes.__file__, str(outside.arguments), "harmless"]
    tried = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout)

    assert len(tried) > 20
    assert {name: why for name, why in tried.items() if why != ESCAPED} == {}
