"""One restart block on live servers: start both, warm them up, take the paired windows, stop both.

It records what happens, bad windows and crashes included, and judges nothing beyond "this pair must be repeated".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vibeserve_tui.evaluation.blocks import Arm, BlockRecord, TimedWindow, differs, fault
from vibeserve_tui.evaluation.side import Running, Side, SideDied, blaming, serving
from vibeserve_tui.metrics import Look, MetricSpec

MAX_SHOWN_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class BlockStarted:
    block: int
    first: Arm


@dataclass(frozen=True, slots=True)
class WindowMeasured:
    """One timed window; samples are thinned to at most 64."""

    arm: Arm
    block: int
    pair: int
    level: str | None
    values: Mapping[str, float | None]
    void: str
    ttft_ms: tuple[float, ...]
    tpot_ms: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BlockFinished:
    """`d` None = the block does not count, and `void` says why."""

    block: int
    d: float | None
    void: str


@dataclass(frozen=True, slots=True)
class LookTaken:
    look: Look
    delta: float


MeasureEvent = BlockStarted | WindowMeasured | BlockFinished | LookTaken
OnEvent = Callable[[MeasureEvent], None]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all blocks of an evaluation share."""

    sides: Mapping[Arm, Side]
    metrics: tuple[MetricSpec, ...]
    headlines: tuple[MetricSpec, ...]
    levels: tuple[str | None, ...]
    pairs: int
    warm_up_s: float
    one_at_a_time: bool
    seed: int
    slices: Iterator[int]
    began: float
    """On time.perf_counter's clock."""
    on_event: OnEvent

    @property
    def kept_samples(self) -> frozenset[str]:
        """Quantities whose requests are pooled over a block; all others stay out of the record."""
        return frozenset(spec.quantity for spec in self.metrics if spec.stat.tail is not None)

    def elapsed(self) -> float:
        return time.perf_counter() - self.began


def pair_order(block: int, pair: int) -> tuple[Arm, Arm]:
    """ABBA in odd blocks, BAAB in even ones; four pairs are ABBA BAAB: drift and slot effects cancel."""
    champion_first = (block + pair.bit_count()) % 2 == 1
    return (Arm.A, Arm.B) if champion_first else (Arm.B, Arm.A)


class BlockRun:
    """The live state of one block."""

    def __init__(self, number: int, bench: Bench) -> None:
        self._number = number
        self._bench = bench
        self._order = pair_order(number, 0)
        self._windows: list[TimedWindow] = []
        self._running: dict[Arm, Running] = {}
        self._awake = self._order[0]

    async def run(self) -> BlockRecord:
        """Raises only what is neither side's fault."""
        self._bench.on_event(BlockStarted(self._number, self._order[0]))
        at_s = self._bench.elapsed()
        crashed: Arm | None = None
        notes: tuple[str, ...] = ()
        try:
            if self._bench.one_at_a_time:
                await self._in_turn()
            else:
                await self._side_by_side()
        except SideDied as death:
            crashed, notes = death.arm, (str(death),)
        return BlockRecord(
            number=self._number,
            first=self._order[0],
            windows=tuple(self._windows),
            crashed=crashed,
            notes=notes,
            at_s=at_s,
            took_s=self._bench.elapsed() - at_s,
        )

    async def _side_by_side(self) -> None:
        first, second = self._order
        async with serving([(arm, self._bench.sides[arm]) for arm in self._order]) as self._running:
            with blaming(second):
                await self._running[second].suspend()
            await self._warm(first)
            await self._wake(second)
            await self._warm(second)
            for level in self._bench.levels:
                for pair in range(self._bench.pairs):
                    if not await self._pair(level, pair):
                        await self._pair(level, pair)

    async def _in_turn(self) -> None:
        """Void windows are not repeated here: their sibling is not up."""
        plan = [(level, pair) for level in self._bench.levels for pair in range(self._bench.pairs)]
        slices = [next(self._bench.slices) for _ in plan]
        for arm in self._order:
            async with serving([(arm, self._bench.sides[arm])]) as self._running:
                self._awake = arm
                await self._warm(arm)
                with blaming(arm):
                    await self._running[arm].resume()  # never suspended, but asked what is asked of those that were
                for (level, pair), index in zip(plan, slices, strict=True):
                    await self._window(arm, level, pair, index)

    async def _warm(self, arm: Arm) -> None:
        with blaming(arm):
            if not await self._running[arm].warm(self._bench.warm_up_s):
                await self._running[arm].warm(self._bench.warm_up_s)

    async def _wake(self, arm: Arm) -> None:
        if arm is self._awake:
            return
        with blaming(self._awake):
            await self._running[self._awake].suspend()
        with blaming(arm):
            await self._running[arm].resume()
        self._awake = arm

    async def _pair(self, level: str | None, pair: int) -> bool:
        """Whether the pair is valid. A repetition gets a fresh slice: prompts seen before may be cached."""
        index = next(self._bench.slices)
        taken: list[TimedWindow] = []
        for arm in pair_order(self._number, pair):
            await self._wake(arm)
            timed = await self._window(arm, level, pair, index)
            if fault(timed, self._bench.headlines):
                return False
            taken.append(timed)
        return not differs(taken[0].window, taken[1].window)

    async def _window(self, arm: Arm, level: str | None, pair: int, index: int) -> TimedWindow:
        at_s = self._bench.elapsed()
        with blaming(arm):
            window = await self._running[arm].window(level, self._bench.seed, index)
        kept = {name: values for name, values in window.samples.items() if name in self._bench.kept_samples}
        timed = TimedWindow(
            arm=arm, level=level, pair=pair, index=index, at_s=at_s, window=window.model_copy(update={"samples": kept})
        )
        self._windows.append(timed)
        self._bench.on_event(
            WindowMeasured(
                arm=arm,
                block=self._number,
                pair=pair,
                level=level,
                values={**window.values, "peak_rss_mib": window.value("peak_rss_mib")},
                void=fault(timed, self._bench.headlines),
                ttft_ms=_thinned(window.samples.get("ttft_ms", ())),
                tpot_ms=_thinned(window.samples.get("tpot_ms", ())),
            )
        )
        return timed


def _thinned(samples: tuple[float, ...]) -> tuple[float, ...]:
    """At most 64 of them, evenly spread in time."""
    step = max(1, -(-len(samples) // MAX_SHOWN_SAMPLES))
    return samples[::step]
