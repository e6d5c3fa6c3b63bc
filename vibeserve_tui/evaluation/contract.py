"""J2: does the server keep its HTTP contract? Bad requests, stop strings, usage, shapes, and a client that hangs up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vibeserve_tui.evaluation.exam import Exam, Findings, Server
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.evaluation.workload import PlannedRequest

COMPLETIONS = "/v1/completions"


async def contract(exam: Exam, server: Server) -> Findings:
    """All questions of the contract, on the server that will be timed."""
    findings = Findings()
    await _bad_requests(exam, server, findings)
    await _plain_and_streamed(exam, server, findings)
    await _stop_strings(exam, server, findings)
    await _hang_up(exam, server, findings)
    return findings


async def _bad_requests(exam: Exam, server: Server, findings: Findings) -> None:
    calls = [replace(call, stream=False) for call in _malformed(exam)]
    for call, report in zip(calls, await server.send(calls, concurrency=1), strict=True):
        refused = report.status is not None and 400 <= report.status < 500
        findings.check(refused, f"{call.id}: answered {report.status or report.error} where a 4xx belongs")
        shaped = isinstance(report.body, dict) and isinstance(report.body.get("error"), dict)
        findings.check(shaped, f"{call.id}: the {report.status} reply carries no `error` object")


def _malformed(exam: Exam) -> Iterator[Call]:
    too_long: list[Json] = [5] * (exam.target.spec.model.max_context + 1)
    for endpoint in exam.target.spec.endpoints:
        path = name = endpoint.path
        yield Call(f"{name}: truncated JSON", path, raw=b'{"prompt": "hel')
        yield Call(f"{name}: an array", path, raw=b"[1, 2, 3]")
        yield Call(f"{name}: no prompt", path, body={"max_tokens": 4})
        hello: list[Json] = [{"role": "user", "content": "hello"}]
        good: dict[str, Json] = {"prompt": "hello"} if path == COMPLETIONS else {"messages": hello}
        yield Call(f"{name}: max_tokens as text", path, body={**good, "max_tokens": "many"})
        yield Call(f"{name}: negative max_tokens", path, body={**good, "max_tokens": -3})
        if path == COMPLETIONS:
            yield Call(f"{name}: over-long prompt", path, body={"prompt": too_long, "max_tokens": 4})
        else:
            yield Call(f"{name}: messages as text", path, body={"messages": "hello"})


async def _plain_and_streamed(exam: Exam, server: Server, findings: Findings) -> None:
    """The same request with and without streaming gives the same text and usage, on every endpoint."""
    (request,) = exam.draw("contract", 1, tokens=24)
    for endpoint in exam.target.spec.endpoints:
        name = endpoint.path
        body = request.body(endpoint.path)
        unstreamed = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
        calls = [
            Call(f"{name} streamed", endpoint.path, body=body),
            Call(f"{name} plain", endpoint.path, body=unstreamed, stream=False),
        ]
        streamed, plain = await server.send(calls, concurrency=1)
        if not findings.check(streamed.ok and plain.ok, f"{name}: {streamed.error or plain.error} on a good request"):
            continue
        findings.check(streamed.text == _text_of(plain), f"{name}: streamed and plain answers differ")
        findings.check(_usage_of(plain) == _streamed_usage(streamed), f"{name}: streamed and plain usage differ")


async def _stop_strings(exam: Exam, server: Server, findings: Findings) -> None:
    """A string that the answer contains ends it, and is cut from the text."""
    if "stop" not in exam.target.spec.endpoints[0].fields:
        return
    (request,) = exam.draw("stop", 1, tokens=32)
    (whole,) = await server.send([request.call("whole", exam.path)], concurrency=1)
    stop = _inner_word(whole.text)
    if not stop:
        return
    body: dict[str, Json] = {**request.body(exam.path), "stop": [stop]}
    (cut,) = await server.send([Call("stopped", exam.path, body=body)], concurrency=1)
    expected = whole.text[: whole.text.index(stop)]
    findings.check(cut.ok and cut.text == expected, f"stop {stop!r}: {cut.error or 'the text is not cut before it'}")
    findings.check(cut.finish_reason == "stop", f"stop {stop!r}: finish_reason is {cut.finish_reason!r}")


async def _hang_up(exam: Exam, server: Server, findings: Findings) -> None:
    """A client that leaves does not disturb the next one."""
    requests: Sequence[PlannedRequest] = exam.draw("hang-up", 2, tokens=32)
    (alone,) = await server.send([requests[1].call("alone", exam.path)], concurrency=1)
    leaving = replace(requests[0].call("leaving", exam.path), cancel_after=2)
    _, after = await server.send([leaving, requests[1].call("after", exam.path)], concurrency=1)
    findings.check(after.ok, f"after a hang-up: {after.error}")
    findings.check(after.token_ids == alone.token_ids, "an answer changed after another client hung up")


def _inner_word(text: str) -> str:
    """A few characters from the middle that occur nowhere before; "" when the text is too short."""
    for start in range(len(text) // 2, len(text) - 3):
        piece = text[start : start + 3]
        if (
            piece.strip() == piece
            and text.index(piece) == start
            and piece.isascii()
            and json.dumps(piece)[1:-1] == piece
        ):
            return piece
    return ""


def _first_choice(report: CallReport) -> dict[str, Json]:
    body = report.body if isinstance(report.body, dict) else {}
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, dict) else {}


def _text_of(report: CallReport) -> str | None:
    choice = _first_choice(report)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return text if isinstance(text, str) else None


def _usage_of(report: CallReport) -> tuple[Json, Json]:
    usage = report.body.get("usage") if isinstance(report.body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


def _streamed_usage(report: CallReport) -> tuple[Json, Json]:
    return (None, None) if report.usage is None else (report.usage.prompt_tokens, report.usage.completion_tokens)
