"""The seam between the gate and live servers: what a side must offer, and both sides started at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Protocol

from vibeserve_tui.errors import MeasurementError
from vibeserve_tui.evaluation.blocks import Arm, Window


class ServerDied(MeasurementError):
    """A server did not get ready, or died. Raised by a side; any other error ends the evaluation."""


class Running(Protocol):
    """A server that is up. Every call ends within a deadline of its own."""

    async def warm(self, seconds: float) -> bool:
        """Load it, discard the figures; whether the two halves agreed within 10 %."""
        ...

    async def window(self, level: str | None, seed: int, index: int) -> Window:
        """Measure one level on slice `index` of `seed`: the same requests for every side."""
        ...

    async def suspend(self) -> None:
        """Take it off the processor while its sibling is timed."""
        ...

    async def resume(self) -> None:
        """Back on the processor, and one untimed request answered."""
        ...


class Side(Protocol):
    """One of the two servers of a comparison."""

    @property
    def label(self) -> str: ...

    @property
    def commit(self) -> str: ...

    @property
    def tree(self) -> str:
        """Of the commit's files: equal for equal servers, whatever their history."""
        ...

    def serve(self) -> AbstractAsyncContextManager[Running]:
        """Start it fresh; leaving the context kills it and waits for its leftovers."""
        ...


class SideDied(Exception):
    """`ServerDied`, with the arm to blame."""

    def __init__(self, arm: Arm, reason: str) -> None:
        super().__init__(reason)
        self.arm = arm


@contextmanager
def blaming(arm: Arm) -> Iterator[None]:
    try:
        yield
    except ServerDied as death:
        raise SideDied(arm, str(death)) from death


@asynccontextmanager
async def serving(sides: Sequence[tuple[Arm, Side]]) -> AsyncIterator[dict[Arm, Running]]:
    """Start the sides at once, in this order. Raises SideDied for one that does not get ready."""
    held = {arm: _Held(arm, side) for arm, side in sides}
    try:
        started = await asyncio.gather(*(one.start() for one in held.values()))
        yield dict(zip(held, started, strict=True))
    finally:
        await _close(list(held.values()))


class _Held:
    """A server entered and left in a task of its own: the time limits inside `serve()` belong to one task."""

    def __init__(self, arm: Arm, side: Side) -> None:
        self._arm = arm
        self._side = side
        self._running: Running | None = None
        self._settled = asyncio.Event()
        self._release = asyncio.Event()
        self.task = asyncio.create_task(self._hold())

    async def start(self) -> Running:
        await self._settled.wait()
        if self._running is None:
            with blaming(self._arm):
                await self.task
            raise MeasurementError(f"{self._side.label}: serve() ended without a server")
        return self._running

    def release(self) -> None:
        self._release.set()
        if not self._settled.is_set():
            self.task.cancel()

    async def _hold(self) -> None:
        try:
            async with self._side.serve() as self._running:
                self._settled.set()
                await self._release.wait()
        finally:
            self._settled.set()


async def _close(held: Sequence[_Held]) -> None:
    """Stop all of them at once; a failure to stop is raised, a death that was noticed before is not."""
    for one in held:
        one.release()
    endings = await asyncio.gather(*(one.task for one in held), return_exceptions=True)
    for ending in endings:
        if isinstance(ending, BaseException) and not isinstance(ending, ServerDied | asyncio.CancelledError):
            raise ending
