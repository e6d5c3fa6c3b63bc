"""J2: does the server keep its HTTP contract: refusals, shapes, usage, text, ends?

Bad requests come first and good ones after them: whatever they left behind would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from vibeserve_tui.evaluation.answers import ended_at_once, fault_of, same_text
from vibeserve_tui.evaluation.corpus import Corpus
from vibeserve_tui.evaluation.exam import Exam, Findings, Server, compare
from vibeserve_tui.evaluation.load_plan import Call
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.strict_json import Json
from vibeserve_tui.evaluation.workload import CHAT_PATH, PlannedRequest

WILD_TEMPERATURE = 2.0
"""Sampled so, answers are full of split and broken characters, which is where detokenisers go wrong."""
TOKENS = 24
SHARED_DRAWS = 48
"""Tried, to find prompts whose words are tokenized to the very ids that were drawn."""
SHARED = 4
"""Of these, that every endpoint is asked."""
SEEDS = (1, 2)
SEEDED = 4
"""Prompts that an endpoint which is not timed is asked with each seed: an answer may end at once with both."""
SEEDED_TOKENS = 8


async def contract(exam: Exam, server: Server) -> Findings:
    """All questions of the contract, one after the other, on a server of the tree that will be timed."""
    questions = _Questions(exam)
    reports = dict(zip(questions.calls, await server.send(list(questions.calls.values()), concurrency=1), strict=True))
    findings = Findings()
    for name in questions.malformed:
        _check_refusal(reports[name], findings)
    for path in questions.paths:
        _check_ways(exam, path, questions.shared, reports, findings)
        for name in questions.further_names:
            _check_people(path, reports[f"{path} {name}"], reports[f"{path} {name} by people"], findings)
    _check_texts(exam, questions.wild, [reports[name] for name in questions.wild_names], findings)
    for path in questions.sampled_paths:
        _check_seeds(path, [(one, reports[f"{path} {name}"]) for name, one in questions.seeded.items()], findings)
    natural = zip(questions.natural, map(reports.__getitem__, questions.natural_names), strict=True)
    answers = [*_shared_answers(exam, questions, reports, findings), *natural]
    await compare(exam, [request for request, _ in answers], [report for _, report in answers], findings)
    await _stop_strings(exam, server, findings)
    return findings


class _Questions:
    """Everything that can be asked at once, by name; good requests come last: bad ones may have left harm behind."""

    def __init__(self, exam: Exam) -> None:
        self.paths = [endpoint.path for endpoint in exam.target.spec.endpoints]
        (self.shared, *self.further), self.is_one_prompt = _shared(exam)
        count = max(1, exam.sizes.contract // 2)
        self.natural = [replace(one, ignore_eos=False) for one in exam.draw("ends", count, tokens=2 * TOKENS)]
        self.wild = _wild(exam, count) if "temperature" in exam.offers else []
        self.seeded = {f"prompt {number} seed {one.seed}": one for number, one in enumerate(_seeded(exam))}
        self.further_names = [f"further {number}" for number in range(len(self.further))]
        self.natural_names = [f"end {number}" for number in range(len(self.natural))]
        self.wild_names = [f"text {number}" for number in range(len(self.wild))]

        malformed = [replace(call, stream=False) for call in _malformed(exam)]
        self.malformed = [call.id for call in malformed]
        calls = malformed[:]
        for path in self.paths:
            calls += [*_twice(self.shared, f"{path} streamed", path), *_other_ways(path, self.shared)]
            for name, request in zip(self.further_names, self.further, strict=True):
                calls += [
                    *_twice(request, f"{path} {name}", path),
                    _by_people(f"{path} {name} by people", path, request),
                ]
        self.sampled_paths = [
            one.path for one in exam.target.spec.endpoints[1:] if {"temperature", "seed"} <= {*one.fields}
        ]
        for path in self.sampled_paths:
            calls += [request.call(f"{path} {name}", path) for name, request in self.seeded.items()]
        named = zip((*self.natural_names, *self.wild_names), (*self.natural, *self.wild), strict=True)
        calls += [request.call(name, exam.path) for name, request in named]
        self.calls = {call.id: call for call in calls}


def _shared(exam: Exam) -> tuple[list[PlannedRequest], bool]:
    """Requests for every endpoint, and whether the words and the ids of each are surely one prompt, template included.

    Long ones, of which an endpoint that cuts prompts short loses most.
    """
    corpus = exam.workload.corpus
    drawn = [replace(one, ignore_eos=False) for one in exam.draw("shared", SHARED_DRAWS, tokens=TOKENS)]
    alike = [request for request in drawn if corpus.closing and _is_one_prompt(corpus, request)]
    longest = sorted(alike, key=lambda request: -len(request.prompt_ids))
    return (longest[:SHARED], True) if longest else (drawn[:1], False)


def _is_one_prompt(corpus: Corpus, request: PlannedRequest) -> bool:
    whole = corpus.tokenizer.encode(corpus.text(request.prompt_ids), add_special_tokens=False).ids
    return request.text == request.text.strip() and tuple(whole) == request.prompt_ids


def _wild(exam: Exam, count: int) -> list[PlannedRequest]:
    drawn = exam.draw("text", count, tokens=TOKENS)
    return [replace(one, temperature=WILD_TEMPERATURE, seed=number) for number, one in enumerate(drawn)]


def _seeded(exam: Exam) -> Iterator[PlannedRequest]:
    drawn = exam.draw("seeds", SEEDED, tokens=SEEDED_TOKENS)
    for seed in SEEDS:
        for request in drawn:
            yield replace(request, temperature=WILD_TEMPERATURE, seed=seed, ignore_eos=False)


# ---- bad requests ---------------------------------------------------------------------------------------------------


def _malformed(exam: Exam) -> Iterator[Call]:
    beyond = exam.target.spec.model.max_context + 1
    too_long: list[Json] = [5] * beyond
    hello: list[Json] = [{"role": "user", "content": "hello"}]
    for endpoint in exam.target.spec.endpoints:
        path, chat = endpoint.path, endpoint.path == CHAT_PATH
        good: dict[str, Json] = {"messages": hello} if chat else {"prompt": "hello"}
        yield Call(f"{path}: truncated JSON", path, raw=b'{"prompt": "hel')
        yield Call(f"{path}: an array", path, raw=b"[1, 2, 3]")
        yield Call(f"{path}: bytes that are no UTF-8", path, raw=b'{"prompt": "\xff\xfe", "max_tokens": 4}')
        yield Call(f"{path}: no prompt", path, body={"max_tokens": 4})
        yield Call(f"{path}: max_tokens as text", path, body={**good, "max_tokens": "many"})
        yield Call(f"{path}: negative max_tokens", path, body={**good, "max_tokens": -3})
        yield Call(f"{path}: more max_tokens than context", path, body={**good, "max_tokens": beyond})
        yield Call(f"{path}: stream as text", path, body={**good, "max_tokens": 4, "stream": "yes"})
        if "temperature" in endpoint.fields:
            yield Call(f"{path}: temperature as text", path, body={**good, "max_tokens": 4, "temperature": "hot"})
        if chat:
            yield Call(f"{path}: messages as text", path, body={"messages": "hello"})
        else:
            yield Call(f"{path}: over-long prompt", path, body={"prompt": too_long, "max_tokens": 4})
            yield Call(f"{path}: a token id that does not exist", path, body={"prompt": [2**40], "max_tokens": 4})


def _check_refusal(report: CallReport, findings: Findings) -> None:
    refused = report.status is not None and 400 <= report.status < 500
    findings.check(refused, f"{report.id}: answered {report.status or report.error} where a 4xx belongs")
    shaped = isinstance(report.body, dict) and isinstance(report.body.get("error"), dict)
    findings.check(shaped, f"{report.id}: the {report.status} reply carries no `error` object")


# ---- shapes, texts, ends --------------------------------------------------------------------------------------------


def _twice(request: PlannedRequest, name: str, path: str) -> list[Call]:
    """Answers that are held against one another are to prompts seen before.

    Where the state of a prompt is kept, arithmetic that rounds may answer otherwise than it did at first.
    """
    return [request.call(f"{name}, at first", path), request.call(name, path)]


def _other_ways(path: str, request: PlannedRequest) -> list[Call]:
    """Without streaming, and as people ask, who want no ids and no usage."""
    unstreamed = {key: value for key, value in request.body(path).items() if key not in ("stream", "stream_options")}
    return [Call(f"{path} plain", path, body=unstreamed, stream=False), _by_people(f"{path} by people", path, request)]


def _by_people(name: str, path: str, request: PlannedRequest) -> Call:
    wanted = request.body(path).items()
    return Call(
        name, path, body={key: value for key, value in wanted if key not in ("return_token_ids", "stream_options")}
    )


def _check_ways(
    exam: Exam, path: str, request: PlannedRequest, reports: Mapping[str, CallReport], findings: Findings
) -> None:
    """The same request gives the same text, however it is asked, and the same usage where that is told."""
    streamed, plain, by_people = (reports[f"{path} {way}"] for way in ("streamed", "plain", "by people"))
    answered = (streamed.ok or ended_at_once(request, streamed)) and plain.ok
    if not findings.check(answered, f"{path}: {streamed.error or plain.error} on a good request"):
        return
    findings.check(streamed.text == _text_of(plain), f"{path}: streamed and plain answers differ")
    _check_people(path, streamed, by_people, findings)
    findings.check(_usage_of(plain) == _streamed_usage(streamed), f"{path}: streamed and plain usage differ")
    finish = first_choice(plain).get("finish_reason")
    findings.check(streamed.finish_reason == finish, f"{path}: streamed and plain finish_reason differ")
    if streamed.token_ids:
        matching = same_text(streamed.text, exam.rules.decode(streamed.token_ids))
        findings.check(matching, f"{path}: the text is not that of its tokens")


def _check_people(path: str, streamed: CallReport, by_people: CallReport, findings: Findings) -> None:
    findings.check(streamed.text == by_people.text, f"{path}: asked without token ids it answers otherwise")


def _check_seeds(path: str, asked: Sequence[tuple[PlannedRequest, CallReport]], findings: Findings) -> None:
    """An endpoint that is not timed samples too."""
    for request, report in asked:
        findings.check(report.ok or ended_at_once(request, report), f"{report.id}: {report.error}")
    texts = [report.text for _, report in asked]
    alike = texts[:SEEDED] == texts[SEEDED:]
    findings.check(not alike, f"{path}: two seeds at temperature {WILD_TEMPERATURE:g} give the same answers")


def _shared_answers(
    exam: Exam, questions: _Questions, reports: Mapping[str, CallReport], findings: Findings
) -> Iterator[tuple[PlannedRequest, CallReport]]:
    """The answers to shared prompts whose ids can be compared; one without ids has to have the same text."""
    others = [path for path in questions.paths if path != exam.path] if questions.is_one_prompt else []
    further = [(request, f"further {number}") for number, request in enumerate(questions.further)]
    for request, way in ((questions.shared, "streamed"), *further):
        first = reports[f"{exam.path} {way}"]
        yield request, first
        for other in (reports[f"{path} {way}"] for path in others):
            if other.token_ids or ended_at_once(request, other):
                yield request, other
            elif exam.target.spec.accuracy.tolerance_class == "exact":
                findings.check(
                    other.text == first.text, f"{other.id}: the same prompt has another answer at {exam.path}"
                )


def _check_texts(
    exam: Exam, requests: Sequence[PlannedRequest], reports: Sequence[CallReport], findings: Findings
) -> None:
    """Text comes with its token, whole characters only."""
    rules = exam.rules
    for request, report in zip(requests, reports, strict=True):
        fault = fault_of(request, report, rules)
        findings.check(not fault, fault)


async def _stop_strings(exam: Exam, server: Server, findings: Findings) -> None:
    """A string that the answer contains ends it, and is cut from the text."""
    if "stop" not in exam.offers or findings.fault:
        return
    (request,) = exam.draw("contract", 1, tokens=TOKENS)
    # Right before it: what was kept of a prompt may be gone after so many others.
    _, whole = await server.send(_twice(request, "whole", exam.path), concurrency=1)
    stop = _inner_piece(whole.text)
    if not findings.check(whole.ok or ended_at_once(request, whole), f"{whole.id}: {whole.error}") or not stop:
        return
    body: dict[str, Json] = {**request.body(exam.path), "stop": [stop]}
    (cut,) = await server.send([Call("stopped", exam.path, body=body)], concurrency=1)
    expected = whole.text[: whole.text.index(stop)]
    findings.check(cut.ok and cut.text == expected, f"stop {stop!r}: {cut.error or 'the text is not cut before it'}")
    findings.check(cut.finish_reason == "stop", f"stop {stop!r}: finish_reason is {cut.finish_reason!r}")
    stated = cut.usage.completion_tokens if cut.usage else None
    findings.check(stated == len(cut.token_ids), f"stop {stop!r}: usage says {stated}, {len(cut.token_ids)} ids came")


def _inner_piece(text: str) -> str:
    """A few characters from the middle that occur nowhere before; "" when the text is too short."""
    for start in range(len(text) // 2, len(text) - 3):
        piece = text[start : start + 3]
        if piece.isascii() and piece.isprintable() and piece.strip() == piece and text.index(piece) == start:
            return piece
    return ""


def first_choice(report: CallReport) -> dict[str, Json]:
    """Of a reply without streaming; {} when there is none."""
    body = report.body if isinstance(report.body, dict) else {}
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    return first if isinstance(first, dict) else {}


def _text_of(report: CallReport) -> str | None:
    choice = first_choice(report)
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return text if isinstance(text, str) else None


def _usage_of(report: CallReport) -> tuple[Json, Json]:
    usage = report.body.get("usage") if isinstance(report.body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


def _streamed_usage(report: CallReport) -> tuple[Json, Json]:
    return (None, None) if report.usage is None else (report.usage.prompt_tokens, report.usage.completion_tokens)
