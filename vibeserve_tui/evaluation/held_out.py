"""J3 and J4: unseen prompts of every declared length, and with one token changed.

Prompts are drawn in private for each judgement, and every position of every answer is compared with the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

from vibeserve_tui.evaluation.exam import Exam, Findings, Server, ask, compare
from vibeserve_tui.evaluation.logprobs import check_logprobs, logprob_call
from vibeserve_tui.evaluation.workload import PlannedRequest, Position, perturb

FULL_LENGTH_EVERY = 4
"""One answer in so many is asked for at its whole declared length, for servers that know what a check looks like."""
LONGEST_CONTEXT = 4096
"""A model's context is filled once, up to so many tokens: beyond, one prompt would cost more than all the others."""
CONTEXT_TAIL = 32
BEYOND = 64
"""Tokens behind the longest declared answer: a server that is made for the benchmark's lengths does not get there."""
PERTURBED_TOKENS = 16
SPECIAL_IDS = 5
"""Of most tokenizers the first ids are special ones, which are not swapped for one another."""


async def held_out(exam: Exam, server: Server) -> Findings:
    """J3: all at once, and every position compared."""
    findings = Findings()
    requests = [*_drawn(exam), *_extremes(exam)]
    calls = [request.call(f"q{number}", exam.path) for number, request in enumerate(requests)]
    probe = requests[0]
    *reports, logprobs = await server.send([*calls, logprob_call(exam, probe)], concurrency=exam.full_batch)
    await compare(exam, requests, reports, findings)
    if not findings.fault:
        await check_logprobs(exam, probe, logprobs, findings)
    return findings


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
    longest = workload.prompt_tokens.most
    answer = max(workload.output_tokens.most, min(workload.output_tokens.most + BEYOND, context - longest))
    lengths = ((longest, answer), (context - CONTEXT_TAIL, CONTEXT_TAIL))
    return [_of_length(exam, random, prompt, output) for prompt, output in lengths]


def _of_length(exam: Exam, random: Random, prompt: int, output: int) -> PlannedRequest:
    (drawn,) = exam.workload.draw(random.getrandbits(48), 1)
    ids = exam.workload.prompt(random, prompt)
    return replace(drawn, prompt_ids=ids, text=exam.workload.corpus.text(ids), max_tokens=output)


async def perturbed(exam: Exam, server: Server) -> Findings:
    """J4: right after the original, a prompt changed at its first, middle or last token has an answer of its own."""
    findings = Findings()
    count = max(exam.sizes.perturb, exam.target.spec.accuracy.battery.perturb)
    originals = exam.draw("perturb", -(-count // len(Position)), tokens=PERTURBED_TOKENS)
    vocabulary = ordinary_ids(request.prompt_ids for request in originals)
    random = exam.random("perturb")
    requests = [
        variant
        for request in originals
        for variant in (
            request,
            *(
                replace(request, prompt_ids=perturb(request.prompt_ids, position, vocabulary, random))
                for position in Position
            ),
        )
    ]
    reports = await ask(exam, server, requests, concurrency=1)
    await compare(exam, requests, reports, findings)
    return findings


def ordinary_ids(prompts: Iterable[Sequence[int]]) -> list[int]:
    return sorted({token for prompt in prompts for token in prompt if token > SPECIAL_IDS})
