"""`target calibrate`: what engines that round would answer on this checkpoint, and the limits that let just them pass.

The class limits were taken from one small model. How often a model is nearly undecided between two tokens, which is
where rounding shows, differs from checkpoint to checkpoint. So the target's own reference is run again with other
arithmetic, its answers are judged by the truth as a candidate's would be, and a class's limits are set a margin beyond
the worst of what the class is for. What no limit may let pass, a model with a layer left out, is measured beside it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from vibeserve_tui.evaluation.gaps import GapStatistics
from vibeserve_tui.evaluation.held_out import LONGEST_CONTEXT, ordinary_ids
from vibeserve_tui.evaluation.reference import ReferenceService, Spawn, reference_command
from vibeserve_tui.evaluation.told import Compared, Told
from vibeserve_tui.evaluation.weight_swap import swap_weights
from vibeserve_tui.evaluation.workload import Position, Workload, perturb
from vibeserve_tui.inputs.target import LoadedTarget
from vibeserve_tui.inputs.target_sections import CLASS_LIMITS, GapLimits

TOKENS = 32
"""As long as most answers of a judgement."""
MARGIN = 1.5
"""Between what was seen of honest arithmetic and a limit: other processors round in other places."""
CONFIDENT = 2.33
"""Standard deviations, one-sided 99 %: rare gaps are counted on few positions."""
SWAP_PROMPTS = 6
LONG_EVERY = 16
Prompt = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """One way to compute the model, and the narrowest class that is for it; "" = none is."""

    name: str
    allowed_from: str
    dtype: str = ""
    change: str = ""
    in_batches: bool = False
    """It rounds all rows of a step alike, so the fuller its batch the coarser: it is asked in the fullest."""


ARITHMETICS = (
    Arithmetic("the truth's own, token by token", "exact"),
    Arithmetic("bf16", "numeric", dtype="bfloat16"),
    Arithmetic("int8 weights", "numeric", change="int8-weights"),
    Arithmetic("int8 weights and activations", "quantised", change="int8-activations", in_batches=True),
    Arithmetic("a layer left out", "", change="skipped-layer"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What one arithmetic came to."""

    arithmetic: Arithmetic
    weights: str
    """"own" or "other": the judge asks on perturbed weights too."""
    same: int
    """Answers equal to the truth's own, of `answers`."""
    answers: int
    statistics: GapStatistics


@dataclass(frozen=True, slots=True)
class Laboratory:
    """Where references of one target are started."""

    target: LoadedTarget
    workload: Workload
    folder: Path
    """Holds logs and other weights."""
    spawn: Spawn

    @asynccontextmanager
    async def reference(self, arithmetic: Arithmetic | None = None) -> AsyncIterator[ReferenceService]:
        """Computing as given, or the truth."""
        dtype, change = (arithmetic.dtype, arithmetic.change) if arithmetic else ("", "")
        command = reference_command(self.target, swaps=self.folder, dtype=dtype, change=change)
        log = self.folder / "reference.log"
        service = await ReferenceService.start(command, self.target.model_dir, log=log, spawn=self.spawn)
        try:
            yield service
        finally:
            await service.close()


async def calibrate(lab: Laboratory, *, positions: int, seed: int, progress: Callable[[Row], None]) -> tuple[Row, ...]:
    """Rows for every arithmetic, on the own weights and on other ones, about `positions` in each of the former."""
    own = draw_prompts(lab.target, lab.workload, seed, math.ceil(positions / TOKENS))
    other = own[: max(SWAP_PROMPTS, len(own) // 4)]
    rows: list[Row] = []
    async with lab.reference() as truth:
        spec = lab.target.spec
        swap = await swap_weights(
            truth, lab.folder / "other", seed=seed, prompts=own[:SWAP_PROMPTS], exact_in=spec.model.exact_in
        )
        weights: Mapping[str, tuple[Path, Sequence[Prompt]]] = {
            "own": (lab.target.model_dir, own), "other": (swap.model_dir, other)
        }  # fmt: skip
        right = {name: await _answers(truth, *asked) for name, asked in weights.items()}
        for arithmetic in ARITHMETICS:
            at_once = spec.full_batch if arithmetic.in_batches else 1
            async with lab.reference(arithmetic) as service:
                for name, (folder, prompts) in weights.items():
                    given = await _answers(service, folder, prompts, at_once=at_once)
                    same = sum(mine == theirs for mine, theirs in zip(given, right[name], strict=True))
                    statistics = await _judged(truth, folder, prompts, given)
                    rows.append(Row(arithmetic, name, same, len(prompts), statistics))
                    progress(rows[-1])
    return tuple(rows)


def draw_prompts(target: LoadedTarget, workload: Workload, seed: int, count: int) -> list[Prompt]:
    """As the judge asks: drawn ones, every second of them changed at a token, and some that fill the model's context.

    Both kinds lead a model to where it was trained least, and where it is least decided.
    """
    random = Random(seed)
    drawn = [request.prompt_ids for request in workload.draw(seed, count)]
    vocabulary = ordinary_ids(drawn)
    positions = list(Position)
    longest = min(target.spec.model.max_context, LONGEST_CONTEXT) - TOKENS
    prompts: list[Prompt] = []
    for number, prompt in enumerate(drawn):
        if number % LONG_EVERY == LONG_EVERY - 1:
            prompts.append(workload.prompt(random, longest))
        elif number % 2:
            prompts.append(perturb(prompt, positions[number // 2 % len(positions)], vocabulary, random))
        else:
            prompts.append(prompt)
    return prompts


async def _answers(
    service: ReferenceService, weights: Path, prompts: Sequence[Prompt], *, at_once: int = 1
) -> list[list[int]]:
    async with service.using(weights) as answering:
        return await answering.greedy_many([(prompt, TOKENS) for prompt in prompts], at_once=at_once)


async def _judged(
    truth: ReferenceService, weights: Path, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]]
) -> GapStatistics:
    told = [Told(prompt, tuple(ids), ended=False) for prompt, ids in zip(prompts, answers, strict=True)]
    async with truth.using(weights) as judging:
        return await Compared().gaps(judging, told)


def limits_of(rows: Sequence[Row], name: str) -> GapLimits:
    """Limits for a class: a margin beyond the worst of every arithmetic that it is for, own and other weights together.

    The class's own names of statistics are kept. What is exact by definition never falls below rounding size.
    """
    classes = list(CLASS_LIMITS)
    allowed = classes[: classes.index(name) + 1]
    seen = {row.arithmetic for row in rows if row.arithmetic.allowed_from in allowed}
    honest = [GapStatistics.of(row.statistics.gaps for row in rows if row.arithmetic is one) for one in seen]
    least = CLASS_LIMITS["exact"].max or 0.0
    found = {}
    for statistic in CLASS_LIMITS[name].model_dump(exclude_none=True):
        wanted = MARGIN * max((at_most(seen, statistic) for seen in honest), default=0.0)
        found[statistic] = _rounded_up(max(wanted, least) if statistic in {"max", "p99"} else min(wanted, 1.0))
    return GapLimits.model_validate(found)


def at_most(seen: GapStatistics, statistic: str) -> float:
    """What the statistic may be over all positions, at 99 % confidence; the largest gap is only what it was."""
    n = max(1, seen.positions)
    match statistic:
        case "max":
            return seen.max
        case "mean":
            return seen.mean + CONFIDENT * seen.error_of_mean
        case "p99":
            beyond = math.floor(0.01 * n - CONFIDENT * math.sqrt(0.01 * 0.99 * n))
            return seen.gaps[n - 1 - max(0, beyond)] if seen.gaps else 0.0
        case _:
            return _wilson_upper(seen.numbers()[statistic], n)


def _wilson_upper(share: float, n: int) -> float:
    z2 = CONFIDENT**2
    reach = CONFIDENT * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (share + z2 / (2 * n) + reach) / (1 + z2 / n)


def _rounded_up(value: float) -> float:
    """To two digits: a limit is no measurement."""
    if value <= 0:
        return 0.0
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.2g}")


def let_through(rows: Sequence[Row], limits: GapLimits) -> list[Row]:
    """Rows of arithmetic that no class is for, and that keep these limits all the same."""
    return [row for row in rows if not row.arithmetic.allowed_from and not row.statistics.beyond(limits)]
