"""J5: temperature and seed do what they say; samples follow the reference.

Greedy answers alone would let a server pass that always answers greedily, keeps whole answers by prompt, or samples
from something cheaper.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from vibeserve_tui.evaluation.answers import fault_of
from vibeserve_tui.evaluation.exam import Exam, Findings, Server, ask, compare
from vibeserve_tui.evaluation.load_report import CallReport
from vibeserve_tui.evaluation.workload import PlannedRequest

PROMPTS = 12
"""Tried, to find the one whose next token best tells half the temperature, or only the likeliest ten, from all."""
LIKELIEST = 10
ALONE = 2
CROWDED = 4
TOKENS = 16
GREEDY = 2
GREEDY_TOKENS = 64
"""As long as the others take: who mixes up whose temperature is whose shows only where there are several."""
WARM = (1.8, 2.0)
"""Where whole answers are sampled: open enough to tell greedy from sampled at every token, and far from 1, so that a
server which knows no other temperature is told too."""
EVERY = 2
"""Of so many tokens behind the first, one is looked at."""
FIRSTS = 160
"""As many as tell four fifths of a temperature from all of it."""
LEAST_VARIANCE = 1e-6
"""Where every token is certain, any other one is far too unlikely, and the right one is no evidence."""
TOO_LIKELY, TOO_UNLIKELY = 4.0, -5.0
"""Standard deviations of the summed log-probabilities: honest ones have their longer tail on the unlikely side."""
SIGNIFICANT = 1e-4
RARE = 0.05
"""Of all probability, which the least likely tokens share: whoever cuts a tail off never says one of them."""
LEAST_EXPECTED = 8.0
"""Samples per bin, below which the statistic is no longer distributed as the formula says."""


async def sampled(exam: Exam, server: Server) -> Findings:
    findings = Findings()
    if "temperature" not in exam.offers:
        findings.notes.append("temperature is not offered, so sampling was not looked at")
        return findings
    questions = _Questions(exam, await _telling_prompt(exam))
    asked = [*questions.greedy, *questions.crowded, *questions.firsts, *questions.plain]
    greedy, crowd = _parted(await ask(exam, server, asked, concurrency=exam.full_batch), questions.greedy)
    # Behind the crowd: the state of a prompt seen before may be kept, and rounded arithmetic then answers otherwise.
    alone = await ask(exam, server, questions.alone, concurrency=1)
    if not _all_answered(exam, zip([*asked, *questions.alone], [*greedy, *crowd, *alone], strict=True), findings):
        return findings
    crowded, rest = _parted(crowd, questions.crowded)
    firsts, plain = _parted(rest, questions.firsts)
    await compare(exam, questions.greedy, greedy, findings)
    answers = [tuple(report.token_ids) for report in (*alone, *crowded)]
    if "seed" in exam.offers:
        _check_seeds(questions, answers, findings)
    await _check_continuations(exam, questions, answers, findings)
    _check_firsts(exam, questions, firsts, plain, findings)
    _check_distribution(exam, questions, plain, findings)
    return findings


def _parted(reports: list[CallReport], first: Sequence[PlannedRequest]) -> tuple[list[CallReport], list[CallReport]]:
    """The answers to these requests, and all that come behind them."""
    return reports[: len(first)], reports[len(first) :]


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
    """Ends of answers are often certain; the middle of a text is open, so prompts are cut somewhere within.

    Early: over a hundred samples are asked for, and each of them costs the server its prompt.
    """
    random = exam.random("sampling")
    drawn = exam.draw("sampling", PROMPTS)
    lengths = [len(one.prompt_ids) for one in drawn]
    cut = [one.prompt_ids[: random.randint(n // 4, n // 2) + 1] for one, n in zip(drawn, lengths, strict=True)]
    logprobs = await exam.reference.next_logprobs_many(cut)
    prompts = [_Prompt(ids, tuple(map(math.exp, values))) for ids, values in zip(cut, logprobs, strict=True)]
    return max(prompts, key=lambda prompt: prompt.telling)


class _Questions:
    """All about one prompt, at one temperature, but for `plain`, which is at 1, and `greedy`."""

    def __init__(self, exam: Exam, prompt: _Prompt) -> None:
        random = exam.random("seeds")
        self.prompt = prompt
        self.temperature = round(random.uniform(*WARM), 2)
        count = max(exam.sizes.sampling, exam.target.spec.accuracy.battery.sampling)
        repeated = [random.getrandbits(31) for _ in range(ALONE)]
        crowded = [random.getrandbits(31) for _ in range(CROWDED)]
        self.alone = [_request(exam, prompt, seed, TOKENS, self.temperature) for seed in (*repeated, *repeated)]
        """Twice, so that nothing but the seed can make a difference."""
        self.crowded = [_request(exam, prompt, seed, TOKENS, self.temperature) for seed in crowded]
        """Whole answers among many others: a server may sample otherwise when it is busy."""
        self.firsts = [_request(exam, prompt, random.getrandbits(31), 1, self.temperature) for _ in range(FIRSTS)]
        self.plain = [_request(exam, prompt, random.getrandbits(31), 1, 1.0) for _ in range(count)]
        self.greedy = [replace(one, temperature=0.0, seed=None) for one in exam.draw("greedy", GREEDY)]
        self.greedy = [replace(one, max_tokens=GREEDY_TOKENS) for one in self.greedy]


def _check_seeds(questions: _Questions, answers: Sequence[tuple[int, ...]], findings: Findings) -> None:
    seeds, temperature = ALONE + CROWDED, questions.temperature
    findings.check(len(set(answers)) > 1, f"{seeds} seeds at temperature {temperature:g} give the same answer")
    repeated = answers[:ALONE] == answers[ALONE : 2 * ALONE]
    findings.check(repeated, "the same seed, alone, gives another answer the second time")


async def _check_continuations(
    exam: Exam, questions: _Questions, answers: Sequence[Sequence[int]], findings: Findings
) -> None:
    """Tokens behind the first, each against the reference's probabilities in its place."""
    if findings.fault:
        return
    prompt, temperature = questions.prompt, questions.temperature
    for where, some in (("alone", answers[:ALONE]), ("among others", answers[2 * ALONE :])):
        places = [((*prompt.ids, *answer[:at]), answer[at]) for answer in some for at in range(1, len(answer), EVERY)]
        logprobs = await exam.reference.next_logprobs_many([context for context, _ in places])
        given = [tempered(values, temperature) for values in logprobs]
        tokens = [token for _, token in places]
        _check_likelihood(given, tokens, f"tokens {where} at temperature {temperature:g}, each in its place", findings)


def _check_firsts(
    exam: Exam,
    questions: _Questions,
    firsts: Sequence[CallReport],
    plain: Sequence[CallReport],
    findings: Findings,
) -> None:
    """At another temperature than 1; and together with those at 1, which tells what both have a little of."""
    cold = questions.prompt.probabilities
    warm = tempered([math.log(max(p, 1e-300)) for p in cold], questions.temperature)
    tokens = [_first(exam, report) for report in (*firsts, *plain)]
    given = [_as_told(exam, warm)] * len(firsts) + [_as_told(exam, cold)] * len(plain)
    what = f"first tokens at temperature {questions.temperature:g}"
    _check_likelihood(given[: len(firsts)], tokens[: len(firsts)], what, findings)
    _check_likelihood(given, tokens, "of all first tokens", findings)
    p = findings.numbers["p_rare"] = rare_p(given, tokens)
    findings.check(
        p >= SIGNIFICANT,
        f"{len(tokens)} first tokens do not follow the reference: unlikely ones are missing (p = {p:.1g})",
    )


def _check_likelihood(given: Sequence[Sequence[float]], tokens: Sequence[int], what: str, findings: Findings) -> None:
    z = likelihood_z(given, tokens)
    findings.numbers[f"z_{'_'.join(what.split(maxsplit=2)[:2])}"] = z
    findings.check(
        TOO_UNLIKELY <= z <= TOO_LIKELY,
        f"{len(tokens)} {what} do not follow the reference: they are too {'likely' if z > 0 else 'unlikely'} ({z:+.1f} sd)",
    )


def _check_distribution(exam: Exam, questions: _Questions, reports: Sequence[CallReport], findings: Findings) -> None:
    """First tokens at temperature 1 against the reference's probabilities."""
    given = _as_told(exam, questions.prompt.probabilities)
    p = chi_square_p(Counter(_first(exam, report) for report in reports), given)
    findings.numbers["p"] = p
    findings.check(
        p >= SIGNIFICANT, f"{len(reports)} first tokens at temperature 1 do not follow the reference (p = {p:.1g})"
    )


def _request(exam: Exam, prompt: _Prompt, seed: int, tokens: int, temperature: float) -> PlannedRequest:
    return PlannedRequest(
        prompt_ids=prompt.ids,
        text=exam.workload.corpus.text(prompt.ids),
        max_tokens=tokens,
        temperature=temperature,
        seed=seed,
        ignore_eos=exam.target.spec.workload.ignore_eos,
    )


def _all_answered(exam: Exam, asked: Iterable[tuple[PlannedRequest, CallReport]], findings: Findings) -> bool:
    rules = exam.rules
    fault = next(filter(None, (fault_of(request, report, rules) for request, report in asked)), "")
    return findings.check(not fault, f"sampling: {fault}")


def _first(exam: Exam, report: CallReport) -> int:
    """The first token; an answer that ended at once said an end-of-text token, of which the first stands for all."""
    return next(iter(report.token_ids), next(iter(exam.reference.end_ids), -1))


def _as_told(exam: Exam, probabilities: Sequence[float]) -> Sequence[float]:
    """Of what `_first` finds."""
    return probabilities if exam.target.spec.workload.ignore_eos else ends_as_one(probabilities, exam.reference.end_ids)


def ends_as_one(probabilities: Sequence[float], end_ids: Sequence[int]) -> list[float]:
    """With that of all end-of-text tokens at the first of them: which one it was is not delivered."""
    told = [0.0 if token in end_ids else p for token, p in enumerate(probabilities)]
    for end in end_ids:
        told[end_ids[0]] += probabilities[end]
    return told


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


def tempered(logprobs: Sequence[float], temperature: float) -> list[float]:
    """Probabilities at a temperature, from log-probabilities at temperature 1."""
    best = max(logprobs)
    weights = [math.exp((value - best) / temperature) for value in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def likelihood_z(given: Sequence[Sequence[float]], tokens: Sequence[int]) -> float:
    """How far the log-probability of these tokens lies above what samples of their probabilities have, in sd.

    It is what tells temperatures apart best, and greedy from sampled, whatever the probabilities are.
    """
    moments = {id(probabilities): _moments(probabilities) for probabilities in _distinct(given)}
    above = variance = 0.0
    for probabilities, token in zip(given, tokens, strict=True):
        centre, spread = moments[id(probabilities)]
        variance += spread
        above += math.log(max(probabilities[token] if 0 <= token < len(probabilities) else 0.0, 1e-300)) - centre
    return above / math.sqrt(max(variance, LEAST_VARIANCE))


def _moments(probabilities: Sequence[float]) -> tuple[float, float]:
    """Mean and variance of a sample's log-probability."""
    logs = [math.log(p) if p > 0 else 0.0 for p in probabilities]
    centre = math.fsum(p * log for p, log in zip(probabilities, logs, strict=True))
    return centre, math.fsum(p * (log - centre) ** 2 for p, log in zip(probabilities, logs, strict=True))


def _distinct(given: Iterable[Sequence[float]]) -> Iterable[Sequence[float]]:
    """Each once, though many places may share one."""
    return {id(probabilities): probabilities for probabilities in given}.values()


def rare_p(given: Sequence[Sequence[float]], tokens: Sequence[int]) -> float:
    """Probability that so few of the samples, or fewer, are among the least likely tokens of their place."""
    rare = {id(probabilities): _rare(probabilities) for probabilities in _distinct(given)}
    seen = sum(token in rare[id(probabilities)] for probabilities, token in zip(given, tokens, strict=True))
    chances = {
        id(probabilities): math.fsum(map(probabilities.__getitem__, rare[id(probabilities)]))
        for probabilities in _distinct(given)
    }
    exactly = [1.0] + [0.0] * seen
    for probabilities in given:
        chance = chances[id(probabilities)]
        for k in range(seen, -1, -1):
            exactly[k] = exactly[k] * (1 - chance) + (exactly[k - 1] * chance if k else 0.0)
    return min(1.0, math.fsum(exactly))


def _rare(probabilities: Sequence[float]) -> frozenset[int]:
    """The least likely tokens, as many as have no more than RARE together."""
    ranked = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    together = accumulate(map(probabilities.__getitem__, ranked))
    return frozenset(token for token, total in zip(ranked, together, strict=True) if total <= RARE)
