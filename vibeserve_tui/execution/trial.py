"""The trial of a tier: a box that tries to break out, and to do what a server needs, beside one that visits it.

A tier is believed when its box, started the ordinary way in a pod, was refused every escape and
failed in nothing else. Nothing is concluded from version numbers or from what is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import ladder
from vibeserve_tui.execution.box import BoxSpec
from vibeserve_tui.execution.box_plan import Pod
from vibeserve_tui.execution.ladder import Tier, TierResult
from vibeserve_tui.execution.supervisor import Supervisor
from vibeserve_tui.execution.wire import Exit

_TIME_LIMIT_S = 20.0

# Runs inside the box. A line of each table: what it is called in reports, and what it does;
# an OSError means that it was refused.
_TRIAL = """
import ctypes, errno, json, os, socket, sys, threading
task = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)

def signal_outside():
    os.kill(task["launcher"], 0)
    try:
        own = os.readlink("/proc/self/ns/pid")
    except OSError:
        own = task["pid_namespace"]
    if own != task["pid_namespace"]:
        raise OSError("the number belongs to a process of the box")

def hold_capabilities():
    held = (ctypes.c_uint32 * 6)()
    libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), held)
    if not any(held):
        raise OSError("none")

def new_user_namespace():
    if libc.unshare(0x10000000) != 0:
        raise OSError(ctypes.get_errno(), "unshare")

def send_datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))

def connect_to_the_world_on_its_port():
    try:
        socket.create_connection(("192.0.2.1", task["port"]), timeout=0.2)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM, errno.ENETUNREACH):
            raise

def serve_on_loopback():
    with socket.create_server(("127.0.0.1", task["port"])) as server:
        server.settimeout(5)
        if server.accept()[0].recv(1) != b"x":
            raise OSError("nothing arrived")

escapes = {
    "reads a file that is not shown": lambda: open(task["secret"]).read(),
    "writes into a read-only folder": lambda: open(task["shown"] + "/x", "w"),
    "signals a process outside": signal_outside,
    "connects to the host's loopback": lambda: socket.create_connection(("127.0.0.1", task["host_port"]), timeout=2),
    "connects to other machines on its port": connect_to_the_world_on_its_port,
    "sends a datagram": send_datagram,
}
if sys.platform == "linux":
    escapes["opens a vsock"] = lambda: socket.socket(40, socket.SOCK_STREAM)
    escapes["holds capabilities"] = hold_capabilities
    escapes["makes a user namespace"] = new_user_namespace
needs = {
    "serve on loopback": serve_on_loopback,
    "write to the temporary folder": lambda: open(os.environ["TMPDIR"] + "/x", "w"),
    "start a thread": lambda: threading.Thread(target=int).start(),
}

def outcome(action):
    try:
        action()
    except OSError as error:
        return str(error) or type(error).__name__
    return ""

print(json.dumps({
    "escapes": [name for name, action in escapes.items() if not outcome(action)],
    "failures": [f"{name}: {why}" for name, action in needs.items() if (why := outcome(action))],
}))
"""
# Its neighbour in the pod, which comes as soon as there is somebody to come to.
_VISITOR = """
import socket, sys, time
end = time.monotonic() + 5
while time.monotonic() < end:
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5).sendall(b"x")
        break
    except OSError:
        time.sleep(0.005)
"""


async def hold(supervisor: Supervisor) -> TierResult:
    """Whether the supervisor's tier holds what it must."""
    tier = supervisor.tier
    if tier is Tier.NONE:
        return TierResult(tier, works=True, detail="no isolation, as asked for", fix="")
    outside = Path(tempfile.mkdtemp(prefix="vibeserve-trial-"))
    try:
        with contextlib.closing(supervisor.open_pod()) as pod:
            return _judge(tier, await _attempt(supervisor, pod, outside))
    except (OSError, SandboxError) as error:
        return ladder.refusal(tier, str(error))
    finally:
        shutil.rmtree(outside)


async def _attempt(supervisor: Supervisor, pod: Pod, outside: Path) -> str:
    """What the box printed, or why there was none."""
    secret, shown, printed = outside / "secret", outside / "shown", outside / "printed"
    secret.write_text("not for a box", encoding="ascii")
    shown.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as host:
        task = {
            "secret": str(secret),
            "shown": str(shown),
            "launcher": os.getpid(),
            "pid_namespace": _pid_namespace(),
            "host_port": host.getsockname()[1],
            "port": pod.port,
        }
        server = BoxSpec(_python(_TRIAL, json.dumps(task)), cwd=shown, read_only=(shown,), serves=True)
        visitor = BoxSpec(_python(_VISITOR, str(pod.port)), cwd=shown, read_only=(shown,))
        over = [
            _run(supervisor, number, spec, pod, path)
            for number, (spec, path) in enumerate(((server, printed), (visitor, outside / "visitor")))
        ]
        ended, _ = await asyncio.gather(*over)
    return printed.read_text(encoding="utf-8", errors="replace") or ended["detail"]


def _python(source: str, argument: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source, argument)


def _run(supervisor: Supervisor, number: int, spec: BoxSpec, pod: Pod, printed: Path) -> asyncio.Future[Exit]:
    with open(os.devnull, "rb") as nothing, open(printed, "wb") as output:
        stdio = (nothing.fileno(), output.fileno(), output.fileno())
        return supervisor.start(number, spec, stdio, pod, _TIME_LIMIT_S).over


def _pid_namespace() -> str:
    """Empty where there are none, and a number means the same process everywhere."""
    return str(Path("/proc/self/ns/pid").readlink()) if sys.platform == "linux" else ""


def _judge(tier: Tier, output: str) -> TierResult:
    """Believe nothing but a complete answer without a single escape."""
    try:
        answer = json.loads(output)
        escapes, failures = answer["escapes"], answer["failures"]
    except (ValueError, TypeError, KeyError):
        return ladder.refusal(tier, " ".join(output.split())[-300:] or "the trial gave no answer")
    if escapes:
        return ladder.refusal(tier, f"a box {', '.join(escapes)}")
    if failures:
        return ladder.refusal(tier, f"a box cannot {'; cannot '.join(failures)}")
    return TierResult(tier, works=True, detail="", fix="")
