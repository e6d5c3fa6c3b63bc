from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from vibeserve_tui.evaluation.ahead import ahead


class Shop:
    """Takes its time to open, may fail at either end, and writes down what happened."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.log: list[str] = []
        self.may_open = asyncio.Event()

    @asynccontextmanager
    async def visit(self) -> AsyncIterator[str]:
        self.log.append("opening")
        try:
            await self.may_open.wait()
            if self.fails == "opening":
                raise OSError("no key")
            yield "bread"
        finally:
            self.log.append("closed")
        if self.fails == "closing":
            raise OSError("door jammed")


async def test_it_opens_while_other_work_goes_on() -> None:
    shop = Shop()
    async with ahead(shop.visit()) as opened:
        await asyncio.sleep(0)
        assert shop.log == ["opening"]
        shop.may_open.set()
        assert await opened() == "bread"
        assert await opened() == "bread"
        assert shop.log == ["opening"]
    assert shop.log == ["opening", "closed"]


async def test_why_it_could_not_be_opened_is_for_whoever_asks() -> None:
    shop = Shop(fails="opening")
    shop.may_open.set()
    async with ahead(shop.visit()) as opened:
        with pytest.raises(OSError, match="no key"):
            await opened()
    async with ahead(shop.visit()):
        await asyncio.sleep(0)


async def test_what_nobody_needs_any_more_is_given_up_before_it_is_open() -> None:
    shop = Shop()

    async def change_of_mind() -> None:
        async with ahead(shop.visit()):
            await asyncio.sleep(0)
            raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        await change_of_mind()
    assert shop.log == ["opening", "closed"]


async def test_whoever_is_cancelled_while_waiting_leaves_nothing_open() -> None:
    shop = Shop()

    async def wait() -> None:
        async with ahead(shop.visit()) as opened:
            await opened()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert shop.log == ["opening", "closed"]


async def test_a_failure_to_close_is_raised() -> None:
    shop = Shop(fails="closing")
    shop.may_open.set()
    with pytest.raises(OSError, match="door jammed"):
        async with ahead(shop.visit()) as opened:
            await opened()
