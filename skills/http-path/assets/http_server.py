"""HTTP/1.1 on plain asyncio: the event loop reads requests, the engine's thread writes the answers.

A token is written to its socket by the thread that produced it. Waking the event loop for every token would cost
more than the token; it is woken once per answer, and when a client is too slow to take what it asked for.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from http import HTTPStatus

from server import counters
from server.chunk_template import TemplateAnswer
from server.config import Config
from server.engine import Engine
from server.http_request import HttpRequest, RequestReader
from server.protocol import Answer, BadRequest, Call, error_body, parse_call
from server.ticket import Sink, Ticket
from server.tokens import Tokens


def serve(config: Config, engine: Engine, tokens: Tokens) -> None:
    """Serve until SIGTERM or SIGINT."""
    asyncio.run(_serve(config, engine, tokens))


async def _serve(config: Config, engine: Engine, tokens: Tokens) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    app = App(config, engine, tokens)
    try:
        server = await loop.create_server(lambda: Connection(app, loop), config.host, config.port, backlog=512)
    except OSError as error:  # the port is taken, or the address is not one of this machine
        sys.exit(f"server: {error.strerror}")
    await stopped.wait()
    # Without waiting for streams that are under way: whoever stops a server wants it gone.
    server.close()


class App:
    """What every connection shares."""

    def __init__(self, config: Config, engine: Engine, tokens: Tokens) -> None:
        self.engine = engine
        self.tokens = tokens
        self._commit = config.commit
        self._model_name = config.model_dir.name

    def health(self) -> tuple[int, dict[str, object]]:
        return 200, {
            "status": "ready",
            "commit": self._commit,
            "dtype": self.engine.dtype,
            **counters.notes(),
            "counters": counters.snapshot(),
        }

    def models(self) -> tuple[int, dict[str, object]]:
        return 200, {"object": "list", "data": [{"id": self._model_name, "object": "model", "owned_by": "local"}]}

    def parse(self, body: bytes, *, chat: bool) -> Call:
        return parse_call(body, chat=chat, tokens=self.tokens, max_len=self.engine.max_len)


class Connection(asyncio.Protocol):
    """One client: its requests are answered one after the other, however fast it sends them."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._reader = RequestReader()
        self._ticket: Ticket | None = None
        # Guards the descriptor: once closed, its number may belong to another connection.
        self._writing = threading.Lock()
        self._descriptor = -1
        self._refused = False
        self._behind = False
        """The client reads too slowly; the event loop writes the rest of this connection's data."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._descriptor = transport.get_extra_info("socket").fileno()

    def connection_lost(self, _: Exception | None) -> None:
        with self._writing:
            self._descriptor = -1
        if self._ticket is not None:
            self._app.engine.cancel(self._ticket)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._reader.feed(data)
        if self._reader.overfull:  # sends on and on while it waits for an answer
            self._transport.abort()
        self._next()

    def _next(self) -> None:
        """Serve requests that have arrived completely, until one has to wait for the engine."""
        while self._ticket is None and not self._refused and not self._transport.is_closing():
            try:
                request = self._reader.next(lambda: self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n"))
                if request is None:
                    return
                self._dispatch(request)
            except BadRequest as error:
                self._reply(error.status, error_body(str(error), error.status, error.param, error.code))
                if self._reader.broken:
                    self._hang_up()

    def _hang_up(self) -> None:
        """Closing at once would break the connection under a client that is still sending, before it read why."""
        self._refused = True
        self._transport.write_eof()
        self._loop.call_later(2, self._transport.close)

    def _dispatch(self, request: HttpRequest) -> None:
        match request.method, request.path:
            case "GET", "/health":
                self._reply(*self._app.health())
            case "GET", "/v1/models":
                self._reply(*self._app.models())
            case "POST", "/v1/completions" | "/v1/chat/completions":
                self._generate(self._app.parse(request.body, chat=request.path == "/v1/chat/completions"))
            case _, "/health" | "/v1/models" | "/v1/completions" | "/v1/chat/completions":
                raise BadRequest("Method Not Allowed", status=405)
            case _:
                raise BadRequest("Not Found", status=404)

    def _generate(self, call: Call) -> None:
        if call.stream:
            self._transport.write(STREAM_HEAD)
            sink = self._streaming(call)
        else:
            sink = self._collecting(call)
        # What the event loop could not write yet must not be overtaken.
        self._behind = self._transport.get_write_buffer_size() > 0
        self._ticket = self._app.engine.submit(call.request, sink)

    # region: http.stream
    def _streaming(self, call: Call) -> Sink:
        """A sink, run by the engine's thread, that writes one server-sent event per token."""
        answer = TemplateAnswer(call, self._app.tokens)

        def sink(ids: list[int], finish: str | None) -> None:
            if answer.finish:  # ended by a stop string, which the engine hears of after the next token
                return
            text = answer.push(ids, finish)
            data = _http_chunk(answer.chunk(ids, text))
            if answer.finish:
                data += _http_chunk(answer.end()) + b"0\r\n\r\n"
            self._write(data)
            counters.add("direct_writes")
            if answer.finish:
                self._loop.call_soon_threadsafe(self._finished)

        return sink

    # endregion: http.stream

    def _collecting(self, call: Call) -> Sink:
        """A sink, run by the engine's thread, that replies when the answer is complete."""
        answer = Answer(call, self._app.tokens)

        def sink(ids: list[int], finish: str | None) -> None:
            if answer.finish:
                return
            answer.push(ids, finish)
            if answer.finish:
                failed = answer.finish == "error"
                body = error_body("the engine failed on this request", 500) if failed else answer.whole()
                self._write(_response(500 if failed else 200, body))
                self._loop.call_soon_threadsafe(self._finished)

        return sink

    def _finished(self) -> None:
        """On the event loop: the answer is written, the next request may begin."""
        if self._ticket is not None:
            self._app.engine.cancel(self._ticket)
        self._ticket = None
        if self._reader.last:
            self._transport.close()
        else:
            self._next()

    def _reply(self, status: int, body: object) -> None:
        """On the event loop: an answer that needs no engine."""
        self._transport.write(_response(status, body))
        if self._reader.last:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        """On the engine's thread: never waits for the client."""
        with self._writing:
            if self._descriptor < 0:
                return
            if not self._behind:
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    pass
                except OSError:  # the client is gone; connection_lost will follow
                    return
                self._behind = bool(data)
            if data:
                self._loop.call_soon_threadsafe(self._transport.write, data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _response(status: int, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content
