"""A server that behaves exactly as told, well or badly; standard library only, its own process.

`python mock_server.py '{"ttft_s": 0.02, "gap_s": 0.005}'` prints its port and serves until its
stdin closes. Each event carries `sent_s`, the monotonic time at which it was written, so that a
test can compare the client's stamps with the truth even where this process itself was late.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

WORDS = ("so ", "naïve ", "— ", "日本 ", "🙂 ")  # 2, 3 and 4 byte characters: any split hits one


@dataclass(frozen=True)
class Behaviour:
    ttft_s: float = 0.0
    gap_s: float = 0.0
    jitter_s: float = 0.0
    """Each gap is lengthened by up to so much, by a seeded draw."""
    tokens_per_chunk: int = 1
    tokens: int | None = None
    """Sent instead of max_tokens."""
    fault: str = ""
    """See `FAULTS`; "" = none, unless a request's own field `fault` names one."""
    fault_every: int = 1
    """Only each n-th request is treated so."""
    split_bytes: int = 0
    """Write in pieces of so many bytes, each its own packet."""
    line_break: str = "\n"
    usage_extra: int = 0
    """Added to the completion_tokens that it states."""
    keep_alive: bool = True
    one_at_a_time: bool = False
    """Requests queue, as in a server without batching."""
    model: str | None = None
    """Requests must name this model."""
    key: str | None = None
    """Requests must bear this key."""
    ids: bool = True
    """Whether chunks carry token ids."""
    port: int = 0
    """0 = any that is free; on a given one it serves until it is killed."""


@dataclass
class Server:
    behaviour: Behaviour
    served: int = 0
    port: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def serve(self) -> None:
        server = await asyncio.start_server(self.connected, "127.0.0.1", self.behaviour.port, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
        async with server:
            if self.behaviour.port:
                await server.serve_forever()
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        raw = await reader.readexactly(length)
        self.served += 1
        fault = self.behaviour.fault if self.served % self.behaviour.fault_every == 0 else ""
        exchange = Exchange(self.behaviour, writer, fault, self.served)
        if self.behaviour.key is not None and f"authorization: bearer {self.behaviour.key}" not in head:
            return await exchange.reply_json(401, {"error": {"message": "no such key", "type": "unauthorized"}})
        if not self.behaviour.one_at_a_time:
            return await exchange.run(raw)
        async with self.turn:
            return await exchange.run(raw)


@dataclass
class Exchange:
    """One reply. Methods named `fault_*` return whether the connection may be used again."""

    behaviour: Behaviour
    writer: asyncio.StreamWriter
    fault: str
    number: int

    async def run(self, raw: bytes) -> bool:
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            return await self.reply_json(400, {"error": {"message": "not JSON", "type": "invalid_request_error"}})
        self.fault = self.fault or body.get("fault", "")
        if self.fault in FAULTS_BEFORE_A_REPLY:
            return await FAULTS_BEFORE_A_REPLY[self.fault](self)
        if self.behaviour.model not in (None, body.get("model")):
            return await self.reply_json(404, {"error": {"message": "no such model", "type": "not_found"}})
        if not body.get("stream"):
            return await self.whole(body)
        return await self.stream(body)

    async def reply_json(self, status: int, document: object) -> bool:
        body = json.dumps(document).encode()
        await self.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return self.behaviour.keep_alive

    async def whole(self, body: dict[str, object]) -> bool:
        chunks = list(self.chunks(body))
        await asyncio.sleep(self.behaviour.ttft_s + self.behaviour.gap_s * (len(chunks) - 1))
        ids = [token for chunk in chunks for token in chunk]
        text = "".join(map(word, ids))
        choice = {"index": 0, "text": text, "token_ids": ids, "finish_reason": "length"}
        return await self.reply_json(200, {"choices": [choice], "usage": self.usage(body, len(ids))})

    async def stream(self, body: dict[str, object]) -> bool:
        kind = "application/json" if self.fault == "not_sse" else "text/event-stream; charset=utf-8"
        connection = "keep-alive" if self.behaviour.keep_alive else "close"
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: {connection}\r\n\r\n"
        )
        await self.write(head.encode())
        async for event in self.events(body):
            payload = f"data: {event}".encode() + 2 * self.behaviour.line_break.encode()
            if self.fault == "bad_utf8":
                payload = payload.replace(b"data: {", b"data: {\xff", 1)
            await self.write(b"%x\r\n%b\r\n" % (len(payload), payload))
        if self.fault == "early_close":
            return False
        await self.write(b"0\r\n\r\n")
        return self.behaviour.keep_alive

    async def events(self, body: dict[str, object]) -> AsyncIterator[str]:
        chunks = [] if self.fault == "empty" else list(self.chunks(body))
        chat = "messages" in body
        if chat:
            yield json.dumps({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        async for index, ids in self.paced(chunks):
            if index == 2 and self.fault in FAULTS_WITHIN_A_STREAM:
                event = await FAULTS_WITHIN_A_STREAM[self.fault](self)
                if event is None:
                    return
                yield event
                continue
            last = index == len(chunks) - 1 and self.fault != "no_finish"
            event = chunk_event(ids, chat=chat, finish="length" if last else None)
            if not self.behaviour.ids:
                del event["choices"][0]["token_ids"]  # type: ignore[index]
            yield json.dumps(event, ensure_ascii=False)
        if self.fault == "empty":
            yield json.dumps(chunk_event([], chat=chat, finish="stop"))
        sent = sum(map(len, chunks))
        yield json.dumps({"choices": [], "usage": self.usage(body, sent)})
        if self.fault != "no_done":
            yield "[DONE]"

    async def paced(self, chunks: list[list[int]]) -> AsyncIterator[tuple[int, list[int]]]:
        """At absolute times, so that a late event does not delay the next ones."""
        draw = random.Random(self.number)
        due = time.monotonic() + self.behaviour.ttft_s
        for index, ids in enumerate(chunks):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            yield index, ids
            due += self.behaviour.gap_s + self.behaviour.jitter_s * draw.random()

    def chunks(self, body: dict[str, object]) -> Iterator[list[int]]:
        count = self.behaviour.tokens
        if count is None:
            wanted = body.get("max_tokens", 16)
            assert isinstance(wanted, int)
            count = wanted
        for begin in range(0, count, self.behaviour.tokens_per_chunk):
            yield list(range(begin, min(begin + self.behaviour.tokens_per_chunk, count)))

    def usage(self, body: dict[str, object], sent: int) -> dict[str, int]:
        prompt = body.get("prompt", body.get("messages"))
        assert isinstance(prompt, list | str)
        return {"prompt_tokens": len(prompt), "completion_tokens": sent + self.behaviour.usage_extra}

    async def write(self, data: bytes) -> None:
        step = self.behaviour.split_bytes or len(data)
        for begin in range(0, len(data), step):
            self.writer.write(data[begin : begin + step])
            await self.writer.drain()
            if self.behaviour.split_bytes:
                await asyncio.sleep(0.0002)

    async def fault_429(self) -> bool:
        return await self.reply_json(429, {"error": {"message": "too many requests", "type": "rate_limit"}})

    async def fault_500(self) -> bool:
        return await self.reply_json(500, {"error": {"message": "out of memory", "type": "server_error"}})

    async def fault_silence(self) -> bool:
        await asyncio.sleep(3600)
        return False

    async def fault_hang_up(self) -> bool:
        return False

    async def fault_bad_http(self) -> bool:
        await self.write(b"220 mail.example ESMTP\r\n\r\n")
        return False

    async def fault_reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        raise ConnectionResetError

    async def fault_stall(self) -> None:
        await asyncio.sleep(3600)

    async def fault_close(self) -> None:
        return None

    async def fault_garbage(self) -> str:
        return '{"choices": [{"text": "half an ob'

    async def fault_shape(self) -> str:
        return '{"choices": [{"index": 0, "text": 7}]}'

    async def fault_error_event(self) -> str:
        return '{"error": {"message": "the engine died", "type": "server_error"}}'


FAULTS_BEFORE_A_REPLY = {
    "http_429": Exchange.fault_429,
    "http_500": Exchange.fault_500,
    "timeout": Exchange.fault_silence,
    "dropped": Exchange.fault_hang_up,
    "bad_http": Exchange.fault_bad_http,
}
FAULTS_WITHIN_A_STREAM = {
    "reset": Exchange.fault_reset,
    "stall": Exchange.fault_stall,
    "early_close": Exchange.fault_close,
    "bad_json": Exchange.fault_garbage,
    "bad_shape": Exchange.fault_shape,
    "stream_error": Exchange.fault_error_event,
}
OTHER_FAULTS = ("not_sse", "bad_utf8", "empty", "no_finish", "no_done")
FAULTS = (*FAULTS_BEFORE_A_REPLY, *FAULTS_WITHIN_A_STREAM, *OTHER_FAULTS)
"""Named as the client must report them."""


def word(token: int) -> str:
    return WORDS[token % len(WORDS)]


def chunk_event(ids: list[int], *, chat: bool, finish: str | None) -> dict[str, object]:
    text = "".join(map(word, ids))
    content: dict[str, object] = {"delta": {"content": text}} if chat else {"text": text}
    choice = {"index": 0, **content, "token_ids": ids, "finish_reason": finish}
    return {"id": "x", "object": "text_completion", "choices": [choice], "sent_s": time.monotonic()}


@contextmanager
def running(behaviour: Behaviour) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server's process and port."""
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(asdict(behaviour))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(Server(Behaviour(**json.loads(sys.argv[1]))).serve())
