"""Items that take long to come by, drawn while other work goes on.

A judgement asks two processes at once so, and still reports what they said in one order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def drawn_ahead(items: AsyncGenerator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Begins to draw the items now. What it yields gives them in order, and raises what ended them.

    They are drawn and closed in a task of their own, because time limits inside a generator belong to one task.
    """
    ready: asyncio.Queue[T | None] = asyncio.Queue()

    async def draw() -> None:
        try:
            async with aclosing(items):
                async for item in items:
                    ready.put_nowait(item)
        finally:
            ready.put_nowait(None)

    task, told = asyncio.create_task(draw()), False

    async def drawn() -> AsyncIterator[T]:
        nonlocal told
        while (item := await ready.get()) is not None:
            yield item
        told = True
        await task

    try:
        yield drawn()
    finally:
        task.cancel()
        await asyncio.wait([task])
        failed = not task.cancelled() and task.exception() is not None  # looked at, so that asyncio need not complain
    if failed and not told:
        task.result()
