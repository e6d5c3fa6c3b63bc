"""Our tools for programs that speak MCP, over stdio or loopback HTTP.

It offers what it is given and nothing else; arguments are validated before a tool sees them, calls that change
something run one after the other. Over HTTP the address itself is the secret: CLIs differ in which headers they send.
Beside the tools stands the gateway to the model, where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from vibeserve_tui.agents.cli.answer import faults
from vibeserve_tui.agents.cli.driver import SERVER
from vibeserve_tui.agents.cli.gateway import Gateway, Message, Receive, Scope, Send
from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.errors import EnvironmentFault

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

Refusal = Callable[[ValidationError], str]
HOST = "127.0.0.1"
START_S = 10.0
TOOLS, MODEL = "/tools", "/model"
LARGEST_BODY = 64 << 20
"""Of one request; what a CLI runs knows the address too, and the engine keeps what it is sent in memory."""


class Desk:
    """Where tool calls arrive."""

    def __init__(self, tools: Sequence[Tool], refusals: dict[str, Refusal] | None = None) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self._refusals = refusals or {}
        """What is said instead of the usual when a tool's arguments do not fit."""
        self._writing = asyncio.Lock()
        self._running = 0

    @property
    def is_busy(self) -> bool:
        return self._running > 0

    async def call(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """What the tool says, and whether it could do what was asked."""
        tool = self.tools.get(name)
        if tool is None:
            return f"there is no tool {name!r}; there are {', '.join(self.tools)}", False
        try:
            value = tool.arguments.model_validate(arguments)
        except ValidationError as error:
            refusal = self._refusals.get(name)
            return refusal(error) if refusal else f"the arguments do not fit:\n{faults(error)}", False
        self._running += 1
        try:
            if tool.read_only:
                return await tool.call(value), True
            async with self._writing:
                return await tool.call(value), True
        except ToolError as error:
            return str(error), False
        finally:
            self._running -= 1


def require() -> None:
    """Raises EnvironmentFault when the protocol's package is missing."""
    try:
        import mcp.server.lowlevel  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault("the package mcp is not installed", fix="pip install 'vibeserve-tui[mcp]'") from error


def server_of(desk: Desk, instructions: str = "") -> Server:
    from mcp import types
    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

    async def list_tools(
        _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=tool.name, description=tool.description, input_schema=tool.arguments.model_json_schema()
                )
                for tool in desk.tools.values()
            ]
        )

    async def call_tool(_: ServerRequestContext[Any], asked: types.CallToolRequestParams) -> types.CallToolResult:
        text, done = await desk.call(asked.name, asked.arguments or {})
        return types.CallToolResult(content=[types.TextContent(text=text)], is_error=not done)

    return Server(SERVER, instructions=instructions or None, on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio(desk: Desk, instructions: str) -> None:
    """Until stdin ends."""
    from mcp.server.stdio import stdio_server

    server = server_of(desk, instructions)
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


@dataclass(frozen=True, slots=True)
class Address:
    """For whoever knows it."""

    port: int
    secret: str

    @property
    def root(self) -> str:
        return f"http://{HOST}:{self.port}{self.secret}"

    @property
    def tools(self) -> str:
        return f"{self.root}{TOOLS}"

    @property
    def model(self) -> str:
        return f"{self.root}{MODEL}"


@asynccontextmanager
async def serve_http(desk: Desk, gateway: Gateway | None = None) -> AsyncIterator[Address]:
    """Until the context ends."""
    path = f"/{secrets.token_urlsafe(32)}"
    with socket.create_server((HOST, 0)) as listener:
        stop, ready = asyncio.Event(), asyncio.Event()
        # In a task of its own: the server's task groups must be left by the task that entered them.
        serving = asyncio.create_task(_serve(Routes(path, desk, gateway), listener, ready, stop))
        waiting = asyncio.create_task(ready.wait())
        try:
            await asyncio.wait({serving, waiting}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
            yield Address(listener.getsockname()[1], path)
        finally:
            waiting.cancel()
            stop.set()
            await asyncio.gather(serving, waiting, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Routes:
    secret: str
    """First part of every path; without it there is nothing."""
    desk: Desk
    gateway: Gateway | None


def _bounded(receive: Receive) -> Receive:
    """A request that is larger than any sensible one breaks off."""
    left = LARGEST_BODY

    async def receive_some() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        return message if left >= 0 else {"type": "http.disconnect"}

    return receive_some


async def _serve(routes: Routes, listener: socket.socket, ready: asyncio.Event, stop: asyncio.Event) -> None:
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    class QuietServer(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """They are the engine's."""
            yield

    manager = StreamableHTTPSessionManager(server_of(routes.desk), json_response=True, stateless=True)

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        path = str(scope["path"])
        known = hmac.compare_digest(path[: len(routes.secret)].encode(), routes.secret.encode())
        rest = path[len(routes.secret) :] if known else ""
        if rest == TOOLS:
            await manager.handle_request(scope, _bounded(receive), send)
        elif rest.startswith(f"{MODEL}/") and routes.gateway is not None:
            await routes.gateway.pass_on(rest.removeprefix(MODEL), scope, _bounded(receive), send)
        else:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    settings = uvicorn.Config(route, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = QuietServer(settings)
    async with manager.run():
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        ready.set()  # the socket listens already: whoever calls now is answered in a moment
        await stop.wait()
        server.should_exit = True
        await serving
