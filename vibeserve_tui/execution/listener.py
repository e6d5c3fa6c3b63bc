"""A listening socket of a pod's own network, made by a box in there and handed out to the engine.

Who is in the pod reaches it and nobody else, and no box gets a socket of the host's: that could be pointed elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution import process
from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.process import Place

_LIMIT_S = 20.0
_LISTEN = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener, socket.socket(fileno=1) as engine:
    socket.send_fds(engine, [b"x"], [listener.fileno()])
"""


async def handed_out(place: Place, port: int) -> socket.socket:
    """Listens on the port of the place's loopback, on any that is free for 0. Raises SandboxError."""
    argv = (sys.executable, "-I", "-S", "-c", _LISTEN, str(port))
    spec = BoxSpec(argv, cwd=Path("/"), limits=Limits(memory_mib=256, tasks=16), serves=True)
    box, ours = await process.connected(place, spec)
    with ours:
        try:
            async with asyncio.timeout(_LIMIT_S):
                await _readable(ours)
        except TimeoutError as error:
            raise SandboxError("no box could listen in its pod in time") from error
        finally:
            await box.kill()
        _, handed, _, _ = socket.recv_fds(ours, 1, 1)
    if not handed:
        raise SandboxError(f"no box can listen on port {port} of its pod")
    return socket.socket(fileno=handed[0])


async def _readable(end: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(end, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(end)
