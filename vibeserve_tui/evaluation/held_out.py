"""J3 and J4: unseen prompts of every declared length, and with one token changed.

Prompts are drawn in private for each judgement, and every position of every answer is compared with the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from random import Random

from vibeserve_tui.evaluation.exam import Exam, Findings, Server, ask, compare
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.logprobs import check_logprobs, logprob_call
from vibeserve_tui.evaluation.workload import PlannedRequest, Position, perturb

FULL_LENGTH_EVERY = 4
"""One answer in so many is asked for at its whole declared length, for servers that know what a check looks like."""
LONGEST_CONTEXT = 4096
"""A model's context is filled once, up to so many tokens: beyond, one prompt would cost more than all the others."""
LONG_TOKENS = 3 * 2048
MOST_LONG = 3
"""Of small models it is filled several times: what stands far back often makes no difference. But only where a single
position decides: shares of positions were calibrated with fewer long prompts."""
CONTEXT_TAIL = 64
BEYOND = 64
"""Tokens behind the longest declared answer: a server that is made for the benchmark's lengths does not get there."""
SOON, LATE = 2, 8
"""Answers that end where their text does: those with the nearest end, and with the farthest."""
PERTURBED_TOKENS = 16
TRIED = {Position.FIRST: 2, Position.EARLY: 8, Position.LATE: 8, Position.LAST: 2}
"""Changes of a prompt of which the most telling one is asked: a model cares little for one token among many."""
SPECIAL_IDS = 5
"""Of most tokenizers the first ids are special ones, which are not swapped for one another."""


async def held_out(exam: Exam, server: Server) -> Findings:
    """J3: all at once, and every position compared."""
    findings = Findings()
    drawn = _drawn(exam)
    requests = [*drawn, *_extremes(exam)]
    calls = [request.call(f"q{number}", exam.path) for number, request in enumerate(requests)]
    probe = requests[0]
    *reports, logprobs = await server.send([*calls, logprob_call(exam, probe)], concurrency=exam.full_batch)
    await compare(exam, requests, reports, findings)
    if not findings.fault:
        await check_logprobs(exam, probe, logprobs, findings)
        if _each_counts(exam):
            await _check_ends(exam, server, zip(drawn, reports, strict=False), findings)
    return findings


def _each_counts(exam: Exam) -> bool:
    """Whether a single position may be too far off, whatever the others are."""
    return exam.target.spec.accuracy.gap_limits.max is not None


async def _check_ends(
    exam: Exam, server: Server, answered: Iterable[tuple[PlannedRequest, CallReport]], findings: Findings
) -> None:
    """Some prompts once more, now free to end: right answers that went on behind their end tell where it is."""
    known = [(request, _length(exam, report)) for request, report in answered if request.ignore_eos]
    ranked = [replace(request, ignore_eos=False) for request, _ in sorted(known, key=itemgetter(1))]
    asked = [*ranked[:SOON], *ranked[max(SOON, len(ranked) - LATE) :]]
    if asked:
        await compare(exam, asked, await ask(exam, server, asked, concurrency=exam.full_batch), findings)


def _length(exam: Exam, report: CallReport) -> int:
    """Tokens in front of the first one that ends a text."""
    ends = exam.rules.end_ids
    return next((at for at, token in enumerate(report.token_ids) if token in ends), len(report.token_ids))


def _drawn(exam: Exam) -> list[PlannedRequest]:
    count = max(exam.sizes.held_out, exam.target.spec.accuracy.battery.held_out)
    whole = exam.draw("held-out", count)
    cut = exam.draw("held-out", count, tokens=exam.sizes.held_out_tokens)
    return [whole[i] if i % FULL_LENGTH_EVERY == FULL_LENGTH_EVERY - 1 else cut[i] for i in range(count)]


def _extremes(exam: Exam) -> list[PlannedRequest]:
    """The longest declared prompt with an answer longer than any declared, and one that fills the model's context."""
    spec, random = exam.target.spec, exam.random("extremes")
    workload = spec.workload
    assert workload.prompt_tokens is not None, "the declaration checks this"
    assert workload.output_tokens is not None, "the declaration checks this"
    context = min(spec.model.max_context, LONGEST_CONTEXT)
    times = max(1, min(MOST_LONG, LONG_TOKENS // context)) if _each_counts(exam) else 1
    filled = [(context - CONTEXT_TAIL, CONTEXT_TAIL)] * times
    longest = workload.prompt_tokens.most
    answer = max(workload.output_tokens.most, min(workload.output_tokens.most + BEYOND, context - longest))
    return [_of_length(exam, random, prompt, output) for prompt, output in ((longest, answer), *filled)]


def _of_length(exam: Exam, random: Random, prompt: int, output: int) -> PlannedRequest:
    (drawn,) = exam.workload.draw(random.getrandbits(48), 1)
    ids = exam.workload.prompt(random, prompt)
    return replace(drawn, prompt_ids=ids, text=exam.workload.corpus.text(ids), max_tokens=output)


async def perturbed(exam: Exam, server: Server) -> Findings:
    """J4: right after the original, a prompt changed at its first, an inner or its last token has its own answer."""
    findings = Findings()
    count = max(exam.sizes.perturb, exam.target.spec.accuracy.battery.perturb)
    originals = exam.draw("perturb", -(-count // len(Position)), tokens=PERTURBED_TOKENS)
    changed = iter(await _told_apart(exam, originals))
    requests = [one for original in originals for _ in Position for one in (original, next(changed))]
    reports = await ask(exam, server, requests, concurrency=1)
    await compare(exam, requests, reports, findings)
    return findings


async def _told_apart(exam: Exam, originals: Sequence[PlannedRequest]) -> list[PlannedRequest]:
    """Each original changed at each position, by a token for which its old answer is as wrong as may be.

    A model does not care for every token of a prompt, and where it does not, an old answer is no fault.
    """
    vocabulary, random = ordinary_ids(request.prompt_ids for request in originals), exam.random("perturb")
    answers = await exam.reference.greedy_many([(one.prompt_ids, one.max_tokens) for one in originals])
    tried = [
        (perturb(original.prompt_ids, position, vocabulary, random), answer)
        for original, answer in zip(originals, answers, strict=True)
        for position in Position
        for _ in range(TRIED[position])
    ]
    gaps = await exam.reference.gaps_many(tried)
    ranked = iter([(max(found, default=0.0), prompt) for found, (prompt, _) in zip(gaps, tried, strict=True)])
    return [
        replace(original, prompt_ids=max(islice(ranked, TRIED[position]), key=itemgetter(0))[1])
        for original in originals
        for position in Position
    ]


def ordinary_ids(prompts: Iterable[Sequence[int]]) -> list[int]:
    return sorted({token for prompt in prompts for token in prompt if token > SPECIAL_IDS})
