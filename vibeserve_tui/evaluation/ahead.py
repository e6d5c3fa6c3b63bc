"""Something that takes long to open, opened while other work goes on.

A judgement hides the start of its next server behind the questions to the last one so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def ahead(context: AbstractAsyncContextManager[T]) -> AsyncIterator[Awaitable[T]]:
    """Begins to open the context now and yields what to await for it; an error in opening it is raised there.

    It is entered and left in a task of its own, because time limits inside it belong to one task.
    """
    opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    release = asyncio.Event()

    async def hold() -> None:
        async with context as value:
            opened.set_result(value)
            await release.wait()

    def settle(task: asyncio.Task[None]) -> None:
        if not opened.done():
            error = None if task.cancelled() else task.exception()
            opened.cancel() if error is None else opened.set_exception(error)

    task = asyncio.create_task(hold())
    task.add_done_callback(settle)
    try:
        yield opened
    finally:
        release.set()
        if not opened.done():
            task.cancel()
        await asyncio.wait([task])
        if opened.done() and not opened.cancelled():
            opened.exception()  # nobody may have asked: then it is nobody's loss
