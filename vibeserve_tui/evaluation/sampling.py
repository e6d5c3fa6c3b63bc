"""J5: temperature and seed do what they say; samples follow the reference.

Greedy answers alone would let a server pass that always answers greedily, keeps whole answers by prompt, or samples
from something cheaper.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from vibeserve_tui.evaluation.exam import Exam, Findings, Server, ask
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.workload import PlannedRequest

PROMPTS = 12
"""Tried, to find the one whose next token best tells half the temperature, or only the likeliest ten, from all."""
LIKELIEST = 10
SEEDS = 4
TOKENS = 16
SIGNIFICANT = 1e-4
LEAST_EXPECTED = 8.0
"""Samples per bin, below which the statistic is no longer distributed as the formula says."""


async def sampled(exam: Exam, server: Server) -> Findings:
    findings = Findings()
    if "temperature" not in exam.offers:
        findings.notes.append("temperature is not offered, so sampling was not looked at")
        return findings
    prompt = await _telling_prompt(exam)
    if "seed" in exam.offers:
        await _seeds(exam, server, prompt, findings)
    if not findings.fault:
        await _distribution(exam, server, prompt, findings)
    return findings


@dataclass(frozen=True, slots=True)
class _Prompt:
    ids: tuple[int, ...]
    probabilities: tuple[float, ...]
    """Of the next token, as the reference sees it at temperature 1."""

    @property
    def telling(self) -> float:
        """How well either of two cheaper distributions is told from this one: the chi-square that a sample adds."""
        squares = sum(p * p for p in self.probabilities)
        colder = sum((p * p / squares - p) ** 2 / p for p in self.probabilities if p > 0)
        likeliest = sum(sorted(self.probabilities)[-LIKELIEST:])
        return min(colder, (1 - likeliest) / likeliest)


async def _telling_prompt(exam: Exam) -> _Prompt:
    """Ends of answers are often certain; the middle of a text is open, so prompts are cut somewhere within."""
    random = exam.random("sampling")
    drawn = exam.draw("sampling", PROMPTS)
    cut = [one.prompt_ids[: random.randrange(len(one.prompt_ids) // 4, len(one.prompt_ids)) + 1] for one in drawn]
    prompts = [_Prompt(ids, tuple(map(math.exp, await exam.reference.next_logprobs(ids)))) for ids in cut]
    return max(prompts, key=lambda prompt: prompt.telling)


async def _seeds(exam: Exam, server: Server, prompt: _Prompt, findings: Findings) -> None:
    """Alone, so that nothing but the seed can make a difference."""
    random = exam.random("seeds")
    seeds = [random.getrandbits(31) for _ in range(SEEDS)]
    requests = [_request(exam, prompt, seed, TOKENS) for seed in (*seeds, seeds[0], seeds[-1])]
    reports = await ask(exam, server, requests, concurrency=1)
    if not _all_answered(reports, findings):
        return
    answers = [tuple(report.token_ids) for report in reports]
    findings.check(len(set(answers[:SEEDS])) > 1, f"{SEEDS} seeds at temperature 1 give the same answer")
    repeated = answers[SEEDS:] == [answers[0], answers[SEEDS - 1]]
    findings.check(repeated, "the same seed, alone, gives another answer the second time")


async def _distribution(exam: Exam, server: Server, prompt: _Prompt, findings: Findings) -> None:
    """First tokens at temperature 1 against the reference's probabilities."""
    random = exam.random("distribution")
    count = max(exam.sizes.sampling, exam.target.spec.accuracy.battery.sampling)
    requests = [_request(exam, prompt, random.getrandbits(31), 1) for _ in range(count)]
    reports = await ask(exam, server, requests, concurrency=exam.full_batch)
    if not _all_answered(reports, findings):
        return
    p = chi_square_p(Counter(_first(exam, report) for report in reports), prompt.probabilities)
    findings.numbers["p"] = p
    findings.check(p >= SIGNIFICANT, f"{count} first tokens at temperature 1 do not follow the reference (p = {p:.1g})")


def _request(exam: Exam, prompt: _Prompt, seed: int, tokens: int) -> PlannedRequest:
    return PlannedRequest(
        prompt_ids=prompt.ids,
        text=exam.workload.corpus.text(prompt.ids),
        max_tokens=tokens,
        temperature=1.0,
        seed=seed,
        ignore_eos=exam.target.spec.workload.ignore_eos,
    )


def _all_answered(reports: Sequence[CallReport], findings: Findings) -> bool:
    failed = next((report for report in reports if not report.ok and report.finish_reason is None), None)
    return findings.check(
        failed is None, "" if failed is None else f"sampling: {failed.error} {failed.detail}".rstrip()
    )


def _first(exam: Exam, report: CallReport) -> int:
    """The first token; an answer that ended at once said end-of-text, which is not delivered."""
    return next(iter(report.token_ids), next(iter(exam.reference.end_ids), -1))


def chi_square_p(counts: Counter[int], probabilities: Sequence[float]) -> float:
    """Probability that so many samples of each token, or less likely ones, come from these probabilities."""
    total = sum(counts.values())
    bins = _bins(counts, probabilities, total)
    statistic = sum((observed - expected) ** 2 / expected for observed, expected in bins)
    return upper_tail(statistic, len(bins) - 1)


def _bins(counts: Counter[int], probabilities: Sequence[float], total: int) -> list[tuple[float, float]]:
    """(observed, expected) of tokens from the likeliest down, as few to a bin as may be; an odd number of bins."""
    bins: list[tuple[float, float]] = []
    observed = expected = 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        observed, expected = observed + counts[token], expected + total * probabilities[token]
        if expected >= LEAST_EXPECTED:
            bins.append((observed, expected))
            observed = expected = 0.0
    rest = (observed, expected)
    while bins and (rest[1] < LEAST_EXPECTED or len(bins) % 2):
        last = bins.pop()
        rest = (rest[0] + last[0], rest[1] + last[1])
    return [*bins, rest]


def upper_tail(chi_square: float, df: int) -> float:
    """P(X ≥ chi_square) for an even number of degrees of freedom, where it is a finite sum."""
    half = chi_square / 2
    term = share = math.exp(-half)
    for k in range(1, df // 2):
        term *= half / k
        share += term
    return share if df else 1.0
