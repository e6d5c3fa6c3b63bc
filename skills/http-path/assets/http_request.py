"""Reading HTTP/1.1 requests out of a stream of bytes. Knows sockets as little as it knows models."""

from collections.abc import Callable
from dataclasses import dataclass

from server.protocol import BadRequest

MAX_HEAD = 16 * 2**10
MAX_BODY = 4 * 2**20


@dataclass(frozen=True)
class HttpRequest:
    method: str
    path: str
    body: bytes


class RequestReader:
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: tuple[str, str, int] | None = None
        """Method, path and length of the body of a request whose head has arrived."""
        self.last = False
        """The client wants the connection closed after the present request."""
        self.broken = False
        """Where the next request begins is unknown: the connection cannot be used any more."""

    @property
    def overfull(self) -> bool:
        return len(self._buffer) > MAX_HEAD + MAX_BODY

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self, send_continue: Callable[[], None]) -> HttpRequest | None:
        """The next complete request, or None when more bytes are needed."""
        if self._head is None:
            self._head = self._read_head(send_continue)
        if self._head is None:
            return None
        method, path, length = self._head
        if len(self._buffer) < length:
            return None
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._head = None
        return HttpRequest(method, path, body)

    def _read_head(self, send_continue: Callable[[], None]) -> tuple[str, str, int] | None:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) >= MAX_HEAD:
                raise self._refusal("the header is too large", 431)
            return None
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        try:
            method, target, version = lines[0].split(" ")
            headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines[1:])}
        except ValueError:
            raise self._refusal("the request is not HTTP/1.1", 400) from None
        self.last = headers.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        length = self._body_length(headers)
        if headers.get("expect", "").lower() == "100-continue":
            send_continue()
        return method, target.partition("?")[0], length

    def _body_length(self, headers: dict[str, str]) -> int:
        if "transfer-encoding" in headers:
            raise self._refusal("send the body with a content-length", 411)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise self._refusal("content-length is not a number", 400)
        if int(length) > MAX_BODY:
            raise self._refusal("the body is too large", 413)
        return int(length)

    def _refusal(self, message: str, status: int) -> BadRequest:
        self.broken = True
        return BadRequest(message, status=status)
