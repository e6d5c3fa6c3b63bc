"""The front end on plain asyncio: what a framework otherwise takes care of."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
from pathlib import Path

import psutil
import pytest

from tests.recipes_assets.candidates import CASES, Server, served, start

BODY = {"prompt": "a", "max_tokens": 3, "temperature": 0, "ignore_eos": True}


def raw(body: object, head: str = "") -> bytes:
    content = json.dumps(body).encode()
    return (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n{head}\r\n".encode() + content
    )


def talk(server: Server, *parts: bytes, answers: int = 1) -> list[tuple[int, bytes]]:
    """Send the parts one by one; status and body of so many answers, all of them with a content-length."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        for part in parts:
            client.sendall(part)
        with client.makefile("rb") as stream:
            return [_answer(stream) for _ in range(answers)]


def _answer(stream) -> tuple[int, bytes]:  # type: ignore[no-untyped-def]
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, stream.read(length)


def test_a_port_that_is_taken_is_said_in_one_line(composed: Server, composed_tree: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        second = start(composed_tree, composed.port, tmp_path, log)
        assert second.wait(60) == 1
    said = (tmp_path / "log").read_text().splitlines()
    assert "address already in use" in said[-1]
    assert not [line for line in said if not line.startswith("server: ")]


def test_a_request_may_arrive_byte_by_byte(composed: Server) -> None:
    request = raw(BODY)
    [(status, body)] = talk(composed, *(request[i : i + 1] for i in range(len(request))))
    assert status == 200
    assert json.loads(body)["usage"]["completion_tokens"] == 3


def test_requests_sent_in_one_packet_are_answered_in_order(composed: Server) -> None:
    answers = talk(composed, raw({**BODY, "model": "first"}) + raw({}) + raw({**BODY, "model": "third"}), answers=3)
    assert [status for status, _ in answers] == [200, 400, 200]
    assert json.loads(answers[0][1])["model"] == "first"
    assert json.loads(answers[2][1])["model"] == "third"


def test_a_client_may_wait_for_permission_to_send_its_body(composed: Server) -> None:
    head, _, body = raw(BODY, "Expect: 100-continue\r\n").partition(b"\r\n\r\n")
    answers = talk(composed, head + b"\r\n\r\n", body, answers=2)
    assert [status for status, _ in answers] == [100, 200]


def test_nonsense_is_answered_and_the_connection_closed(composed: Server) -> None:
    for request, expected in (
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
    ):
        with socket.create_connection(("127.0.0.1", composed.port), timeout=30) as client:
            client.sendall(request)
            with client.makefile("rb") as stream:
                assert _answer(stream)[0] == expected
                assert stream.read() == b""


def test_a_client_that_does_not_read_holds_nobody_up(composed: Server) -> None:
    # The model's name is in every block: far more bytes than fit into the sockets' buffers.
    lazy = {**BODY, "max_tokens": 400, "stream": True, "model": "m" * 10_000}
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", composed.port))
        client.sendall(raw(lazy))
        assert composed.ids(CASES[0]) == CASES[0]["output"]
        client.settimeout(60)
        received = b""
        while not received.endswith(b"0\r\n\r\n"):
            received += client.recv(1 << 16)
    assert received.count(b"data: ") == 401
    assert received.count(b'"finish_reason": null') == 399


def test_streams_of_many_clients_do_not_mix(composed: Server) -> None:
    texts: dict[int, str] = {}

    def client(number: int) -> None:
        body = {**BODY, "prompt": [number + 10] * 4, "max_tokens": 12, "model": f"m{number}"}
        blocks = composed.events("/v1/completions", body)
        assert {block["model"] for block in blocks} == {f"m{number}"}
        texts[number] = "".join(block["choices"][0]["text"] for block in blocks)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = {n: composed.complete([n + 10] * 4, 12, ignore_eos=True)["choices"][0]["text"] for n in range(0, 24, 5)}
    assert {number: texts[number] for number in alone} == alone


def test_a_server_stops_at_once_in_the_middle_of_a_stream(composed_tree: Path, tmp_path: Path) -> None:
    tree = shutil.copytree(composed_tree, tmp_path / "tree")
    with served(tree) as server, socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(raw({**BODY, "max_tokens": 2000, "stream": True}))
        assert b"data: " in client.recv(1000) + client.recv(1000)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0


COSTS_NOTHING = """
from server.logits import Logits


class Answers(Logits):
    def argmax(self):
        return [300] * len(self._rows)


class Model:
    def __init__(self, config):
        self.dtype, self.vocab, self.eos, self.max_len = config.text("dtype"), 1024, 2, config.integer("max_len")
        self.slots = config.integer("max_batch") + config.integer("spare_slots")
        config.integer("length_bucket")

    def prefill_many(self, slots, ids_lists, starts):
        return Answers(slots)

    def decode(self, slots, ids, positions):
        return Answers(slots)

    def copy_prefix(self, source, target, length):
        pass
"""


@pytest.mark.slow
def test_scheduling_and_http_leave_room_for_8000_tokens_a_second_on_one_core(
    composed_tree: Path, tmp_path: Path
) -> None:
    tree = shutil.copytree(composed_tree, tmp_path / "tree")
    (tree / "server/model.py").write_text(COSTS_NOTHING)
    with served(tree) as server:

        def client(number: int) -> None:
            for turn in range(5):
                server.events("/v1/completions", {**BODY, "prompt": [turn, number, 5], "max_tokens": 64})

        before = cpu_seconds(server)
        threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # In CPU time, so that a busy machine does not matter.
        assert (cpu_seconds(server) - before) / server.counter("tokens") < 1 / 8000


def cpu_seconds(server: Server) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)
