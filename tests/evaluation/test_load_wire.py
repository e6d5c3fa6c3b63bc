from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_reply import call_report, sse_data
from vibeserve_tui.evaluation.load_report import Fault
from vibeserve_tui.evaluation.load_wire import HttpSyntaxError, Reply, ReplyDecoder

BODY = 'data: {"text": "日本"}\n\ndata: 0\r\n\r\ndata: [DONE]\n\n'.encode()
BY_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
BY_CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"A;ext=1\r\n%b\r\n%x\r\n%b\r\n0\r\nTrailer: x\r\n\r\n" % (BODY[:10], len(BODY) - 10, BODY[10:])
)
BY_CLOSE = b"HTTP/1.0 200 OK\r\n\r\n" + BODY


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges) if begin < end]


@pytest.mark.parametrize("reply", [BY_LENGTH, BY_CHUNKS, BY_CLOSE], ids=["length", "chunks", "close"])
@given(cuts=st.lists(st.integers(0, 10_000), max_size=40))
def test_a_reply_is_the_same_however_it_is_cut_into_packets(reply: bytes, cuts: list[int]):
    decoder = ReplyDecoder()
    read = pieces(reply, cuts)
    completed = [(decoder.feed(piece), decoder.complete) for piece in read]
    assert b"".join(body for body, _ in completed) == BODY
    ends = [complete for _, complete in completed]
    assert not any(ends[:-1])
    assert ends[-1] is (reply is not BY_CLOSE)


@given(cuts=st.lists(st.integers(0, 10_000), max_size=40))
def test_an_event_is_stamped_by_the_read_that_completes_it(cuts: list[int]):
    read = pieces(BODY, cuts)
    events = list(sse_data(enumerate(read)))
    assert [data for _, data in events] == ['{"text": "日本"}'.encode(), b"0", b"[DONE]"]
    ends = [BODY.index(b"data: 0"), BODY.index(b"data: [DONE]"), len(BODY)]
    for (number, _), end in zip(events, ends, strict=True):
        before = len(b"".join(read[:number]))
        assert before < end <= before + len(read[number])


def test_comments_and_other_fields_of_an_event_are_no_data():
    stream = b": ping\n\nevent: x\ndata: 1\ndata:2\n\nid: 3\n\n"
    assert list(sse_data([(0.5, stream)])) == [(0.5, b"1\n2")]


def test_the_end_of_a_reply_ends_its_last_event():
    assert list(sse_data([(0.1, b"data: 1\n\nda"), (0.2, b"ta: [DONE]\n")])) == [(0.1, b"1"), (0.2, b"[DONE]")]
    assert list(sse_data([(0.1, b"data: 1\n\n: bye")])) == [(0.1, b"1")]


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    ],
    ids=lambda reply: repr(reply[-30:]),
)
def test_what_is_no_http_is_refused(reply: bytes):
    with pytest.raises(HttpSyntaxError):
        ReplyDecoder().feed(reply)


def test_a_connection_is_kept_unless_the_server_says_otherwise():
    def keeps_alive(reply: bytes) -> bool:
        decoder = ReplyDecoder()
        decoder.feed(reply)
        return decoder.keeps_alive

    assert keeps_alive(BY_LENGTH)
    assert not keeps_alive(BY_CLOSE)
    assert not keeps_alive(BY_LENGTH.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
    assert not keeps_alive(BY_LENGTH.replace(b"OK\r\n", b"OK\r\nConnection: TE, Close\r\n"))
    older = BY_LENGTH.replace(b"HTTP/1.1", b"HTTP/1.0")
    assert not keeps_alive(older)
    assert keeps_alive(older.replace(b"OK\r\n", b"OK\r\nConnection: Keep-Alive\r\n"))
    assert not keeps_alive(BY_LENGTH[:-1])


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [{"text": "a", "token_ids": [-1]}]},
        {"choices": [{"text": "a", "token_ids": [2**40]}]},
        {"choices": [{"text": "a", "token_ids": [10**400]}]},
        {"choices": [{"text": "a", "token_ids": [True]}]},
        {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 10**400}},
        {"choices": [], "usage": {"prompt_tokens": -(10**30), "completion_tokens": 1}},
    ],
    ids=str,
)
def test_numbers_that_nobody_could_reckon_with_are_the_servers_fault(odd: dict[str, object]):
    reply = Reply(0.0, 0.0, 1 << 20, t_end=1.0, status=200, headers={"content-type": "text/event-stream"})
    reply.stamps.append(0.5)
    reply.pieces.append(f"data: {json.dumps(odd)}\n\n".encode())
    assert call_report(Call("c", "/v1/completions"), reply, 0.0).error == Fault.BAD_SHAPE
