"""A reply's raw bytes made into a call's report: events, tokens, text, or what is wrong with it.

Runs after the window. It believes nothing: a stream that looks finished but lacks its
finish_reason or `[DONE]` is a failed call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from vibeserve_tui.errors import InputError
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport, Fault, usage_from_json
from vibeserve_tui.evaluation.load_wire import Reply
from vibeserve_tui.evaluation.strict_json import Json

EVENT_END = re.compile(rb"\r?\n\r?\n")
DETAIL_CHARACTERS = 300
MAX_TOKEN_ID = 2**31 - 1


class ReplyFault(Exception):
    """The reply is not what the API promises."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


def call_report(call: Call, reply: Reply, t0: float) -> CallReport:
    report = CallReport(
        id=call.id,
        t_sched=reply.t_sched - t0,
        t_sent=reply.t_sent - t0,
        t_end=None if reply.t_end is None else reply.t_end - t0,
        error=reply.fault or "",
        detail=reply.detail,
        status=reply.status,
        content_type=reply.headers.get("content-type", ""),
        prompt_tokens=call.prompt_tokens,
    )
    try:
        _read_body(call, reply, report, t0)
    except ReplyFault as fault:
        # How the connection ended says more than that its last event is half an event.
        if not report.error:
            report.error, report.detail = fault.fault, str(fault)[:DETAIL_CHARACTERS]
    return report


def _read_body(call: Call, reply: Reply, report: CallReport, t0: float) -> None:
    if reply.status is None:
        return
    if reply.status >= 400:
        report.error = report.error or f"http_{reply.status}"
        body = b"".join(reply.pieces)
        report.detail = report.detail or body[:DETAIL_CHARACTERS].decode(errors="replace")
        report.body = _json(body)
    elif not call.stream:
        report.body = _json(b"".join(reply.pieces))
    elif report.content_type.partition(";")[0].strip().lower() != "text/event-stream":
        raise ReplyFault(Fault.NOT_SSE, f"content type {report.content_type!r}")
    else:
        _read_stream(call, reply, report, t0)


def _read_stream(call: Call, reply: Reply, report: CallReport, t0: float) -> None:
    done = False
    if call.keep_events:
        report.events = []
    for stamp, data in sse_data(zip(reply.stamps, reply.pieces, strict=True)):
        if done:
            raise ReplyFault(Fault.BAD_SHAPE, "an event behind [DONE]")
        if data == b"[DONE]":
            done = True
            continue
        event = _json(data)
        if report.events is not None:
            report.events.append(event)
        _read_event(event, stamp - t0, report)
    if report.error:
        return
    if not report.chunk_t:
        raise ReplyFault(Fault.EMPTY, "no token and no character")
    if report.finish_reason is None:
        raise ReplyFault(Fault.NO_FINISH, "no finish_reason")
    if not done:
        raise ReplyFault(Fault.NO_DONE, "no `data: [DONE]`")


def sse_data(pieces: Iterable[tuple[float, bytes]]) -> Iterator[tuple[float, bytes]]:
    """(time, data) of each event; its time is that of the read which completed it."""
    held = bytearray()
    stamp = 0.0
    for stamp, piece in pieces:
        searched = max(0, len(held) - 3)
        held += piece
        begin = 0
        while end := EVENT_END.search(held, max(begin, searched)):
            if data := _data_of(bytes(held[begin : end.start()])):
                yield stamp, data
            begin = end.end()
        del held[:begin]
    if data := _data_of(bytes(held)):
        yield stamp, data  # the end of a reply ends its last event


def _data_of(event: bytes) -> bytes:
    if event.startswith(b"data:") and b"\n" not in event:
        return event[5:].strip()
    lines = (line for line in event.splitlines() if line.startswith(b"data:"))
    return b"\n".join(line[5:].strip() for line in lines)


def _read_event(event: Json, t: float, report: CallReport) -> None:
    if not isinstance(event, dict):
        raise ReplyFault(Fault.BAD_SHAPE, "an event that is no object")
    if event.get("error") is not None:
        raise ReplyFault(Fault.STREAM_ERROR, json.dumps(event["error"]))
    try:
        report.usage = usage_from_json(event.get("usage"), "event") or report.usage
    except InputError as error:
        raise ReplyFault(Fault.BAD_SHAPE, str(error)) from error
    choices = event.get("choices")
    if not isinstance(choices, list):
        raise ReplyFault(Fault.BAD_SHAPE, "an event without a list of choices")
    if choices:
        _read_choice(choices[0], t, report)


def _read_choice(choice: Json, t: float, report: CallReport) -> None:
    if not isinstance(choice, dict):
        raise ReplyFault(Fault.BAD_SHAPE, "a choice that is no object")
    delta = choice.get("delta")
    text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    text = "" if text is None else text
    finish = choice.get("finish_reason")
    if not isinstance(text, str) or not (finish is None or isinstance(finish, str)):
        raise ReplyFault(Fault.BAD_SHAPE, "text and finish_reason must be strings")
    ids = _token_ids(choice.get("token_ids"))
    if ids or text:
        if report.finish_reason is not None:
            raise ReplyFault(Fault.BAD_SHAPE, "tokens behind the finish_reason")
        report.chunk_t.append(t)
        report.chunk_ids.append(ids)
        report.chunk_text.append(text)
    report.finish_reason = finish or report.finish_reason


def _token_ids(value: Json) -> list[int]:
    ids: list[int] = []
    for token in value if isinstance(value, list) else []:
        if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token <= MAX_TOKEN_ID:
            raise ReplyFault(Fault.BAD_SHAPE, "token_ids must be integers from 0 on")
        ids.append(token)
    return ids


def _json(data: bytes) -> Json:
    try:
        document: Json = json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise ReplyFault(Fault.BAD_UTF8, str(error)) from error
    except (ValueError, RecursionError) as error:
        raise ReplyFault(Fault.BAD_JSON, f"{error}: {data[:80]!r}") from error
    return document
