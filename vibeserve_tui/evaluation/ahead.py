"""Something that takes long to open, opened while other work goes on.

A judgement hides the start of its next server behind the questions to the last one so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def ahead(context: AbstractAsyncContextManager[T]) -> AsyncIterator[Callable[[], Awaitable[T]]]:
    """Begins to open the context now. What it yields is called for the value, and raises why it could not be opened.

    It is entered and left in a task of its own, because time limits inside it belong to one task.
    """
    settled, release = asyncio.Event(), asyncio.Event()
    values: list[T] = []

    async def hold() -> None:
        try:
            async with context as value:
                values.append(value)
                settled.set()
                await release.wait()
        finally:
            settled.set()

    task = asyncio.create_task(hold())

    async def opened() -> T:
        await settled.wait()
        if not values:
            await task
        return values[0]

    try:
        yield opened
    finally:
        release.set()
        if not values:
            task.cancel()
        await asyncio.wait([task])
        failed = not task.cancelled() and task.exception() is not None  # looked at, so that asyncio need not complain
    if failed and values:
        task.result()  # a failure to close it; one to open it was for whoever asked
