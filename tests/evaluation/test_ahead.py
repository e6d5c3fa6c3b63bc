from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from vibeserve_tui.evaluation.ahead import drawn_ahead


class Shop:
    """Sells its wares one after the other, may fail at either end, and writes down what happened."""

    def __init__(self, *wares: str, fails: str = "") -> None:
        self.wares = wares
        self.fails = fails
        self.log: list[str] = []
        self.may_sell = asyncio.Event()

    async def sell(self) -> AsyncGenerator[str]:
        self.log.append("opened")
        try:
            async with asyncio.timeout(10):
                await self.may_sell.wait()
                for ware in self.wares:
                    self.log.append(ware)
                    yield ware
            if self.fails == "selling":
                raise OSError("sold out")
        finally:
            self.log.append("closed")
        if self.fails == "closing":
            raise OSError("door jammed")


async def test_items_come_in_order_and_ahead_of_who_takes_them() -> None:
    shop = Shop("bread", "milk")
    shop.may_sell.set()
    async with drawn_ahead(shop.sell()) as wares:
        await asyncio.sleep(0.01)
        assert shop.log == ["opened", "bread", "milk", "closed"]
        assert [ware async for ware in wares] == ["bread", "milk"]


async def test_whoever_takes_one_waits_for_it() -> None:
    shop = Shop("bread")
    async with drawn_ahead(shop.sell()) as wares:
        waiting = asyncio.create_task(anext(wares))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        assert not waiting.done()
        shop.may_sell.set()
        assert await waiting == "bread"


async def test_what_ended_the_items_is_raised_behind_the_last_one() -> None:
    shop = Shop("bread", fails="selling")
    shop.may_sell.set()
    async with drawn_ahead(shop.sell()) as wares:
        assert await anext(wares) == "bread"
        with pytest.raises(OSError, match="sold out"):
            await anext(wares)


async def test_what_nobody_needs_any_more_is_given_up_in_the_middle() -> None:
    shop = Shop("bread")

    async def change_of_mind() -> None:
        async with drawn_ahead(shop.sell()):
            await asyncio.sleep(0)
            raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        await change_of_mind()
    assert shop.log == ["opened", "closed"]


async def test_whoever_is_cancelled_while_waiting_leaves_nothing_open() -> None:
    shop = Shop("bread")

    async def wait() -> None:
        async with drawn_ahead(shop.sell()) as wares:
            await anext(wares)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert shop.log == ["opened", "closed"]


async def test_a_failure_to_close_is_raised_even_if_nobody_took_anything() -> None:
    shop = Shop("bread", fails="closing")
    shop.may_sell.set()
    with pytest.raises(OSError, match="door jammed"):
        async with drawn_ahead(shop.sell()):
            await asyncio.sleep(0.01)
