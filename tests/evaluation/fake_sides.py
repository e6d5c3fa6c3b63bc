"""Sides that answer with programmed figures, on a machine that notices foul play."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from vibeserve_tui.evaluation.blocks import Window
from vibeserve_tui.evaluation.side import ServerDied


@dataclass
class Machine:
    """Where the fakes run: it counts who is up, and a timed window demands that nobody else is awake."""

    awake: set[str] = field(default_factory=set)
    up: set[str] = field(default_factory=set)
    first_up: asyncio.Event = field(default_factory=asyncio.Event)
    log: list[str] = field(default_factory=list)
    slices: dict[str, list[tuple[str | None, int, int]]] = field(default_factory=dict)


@dataclass
class FakeSide:
    """Serves at `speed` tokens/s, give or take the noise of each start and of each window."""

    machine: Machine
    label: str
    speed: float = 100.0
    commit: str = "c0ffee"
    tree: str = "7ee"
    start_noise: float = 0.02
    window_noise: float = 0.01
    start_s: float = 0.001
    crash_in: frozenset[int] = frozenset()
    """Starts (1, 2, …) that die in their second window."""
    stillborn: frozenset[int] = frozenset()
    """Starts that never get ready."""
    bad_windows: Mapping[int, str] = field(default_factory=dict)
    """Violations by number of the window over all starts (1, 2, …)."""
    failed_requests: int = 0
    ttft_ms: float = 50.0
    rss_mib: float = 900.0
    wrong_slice: bool = False
    unsettled: bool = False
    random: Random = field(default_factory=lambda: Random(7))
    starts: int = 0
    windows: int = 0
    resumed: int = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeRunning"]:
        self.starts += 1
        self.machine.log.append(f"{self.label} start")
        name = f"{self.label}#{self.starts}"
        async with asyncio.timeout(5):
            await asyncio.sleep(self.start_s)
            if self.starts in self.stillborn:
                raise ServerDied(f"{self.label} never got ready")
            self.machine.up.add(name)
            self.machine.first_up.set()
            self.machine.awake.add(name)
            try:
                yield FakeRunning(self, name, self.speed * self.random.lognormvariate(0, self.start_noise))
            finally:
                self.machine.up.discard(name)
                self.machine.awake.discard(name)


@dataclass
class FakeRunning:
    side: FakeSide
    name: str
    speed: float
    served: int = 0

    async def warm(self, seconds: float) -> bool:
        self.side.machine.log.append(f"{self.side.label} warm")
        await asyncio.sleep(0)
        return not self.side.unsettled

    async def window(self, level: str | None, seed: int, index: int) -> Window:
        side = self.side
        assert side.machine.awake == {self.name}, "a sibling was awake during a timed window"
        side.machine.log.append(f"{side.label} {level}")
        side.machine.slices.setdefault(side.label, []).append((level, seed, index))
        side.windows += 1
        self.served += 1
        await asyncio.sleep(0.0005)
        if side.starts in side.crash_in and self.served == 2:
            raise ServerDied(f"{side.label} died with signal 9")
        speed = self.speed * side.random.lognormvariate(0, side.window_noise)
        violation = side.bad_windows.get(side.windows)
        return Window(
            values={"output_throughput": speed, "p90_ttft_ms": None, "median_ttft_ms": side.ttft_ms},
            cpu_ms_per_token=1000 / speed,
            peak_rss_mib=side.rss_mib,
            violations=() if violation is None else (violation,),
            failed=side.failed_requests,
            samples={"ttft_ms": tuple(side.ttft_ms + i for i in range(200)), "tpot_ms": (10.0,)},
            slice_sha256=f"{level}/{index}{side.label if side.wrong_slice else ''}",
            took_s=0.0005,
        )

    async def suspend(self) -> None:
        self.side.machine.awake.remove(self.name)

    async def resume(self) -> None:
        self.side.resumed += 1
        self.side.machine.awake.add(self.name)
