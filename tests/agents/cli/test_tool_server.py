"""The tools over MCP, as a client of the official package sees them."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from typing import Any

import pytest
from pydantic import BaseModel

pytest.importorskip("mcp")

from vibeserve_tui.agents.cli.tool_server import Desk, serve_http
from vibeserve_tui.agents.protocol import Tool, ToolError


class Words(BaseModel):
    text: str


class Diary:
    """A tool that changes something, one that reads, one that cannot."""

    def __init__(self) -> None:
        self.at_once = self.most_at_once = 0
        self._all_three = asyncio.Barrier(3)

    def tools(self) -> list[Tool]:
        return [
            Tool("write", "Writes.", Words, self._slowly, read_only=False),
            Tool("look", "Looks.", Words, self._together),
            Tool("fail", "Fails.", Words, self._fail),
        ]

    async def _slowly(self, words: Words) -> str:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.05)
        self.at_once -= 1
        return f"done: {words.text}"

    async def _together(self, words: Words) -> str:
        """Done once three of it are under way."""
        async with asyncio.timeout(60):
            await self._all_three.wait()
        return f"done: {words.text}"

    async def _fail(self, words: Words) -> str:
        raise ToolError("it cannot be done")


async def call(url: str, *calls: tuple[str, dict[str, Any]]) -> list[tuple[str, bool]]:
    from mcp import Client

    async with Client(url) as client:
        results = await asyncio.gather(*(client.call_tool(name, arguments) for name, arguments in calls))
    return [(result.content[0].text, result.is_error) for result in results]


async def test_tools_are_listed_with_their_schemas() -> None:
    from mcp import Client

    async with serve_http(Desk(Diary().tools())) as address, Client(address.tools) as client:
        listed = (await client.list_tools()).tools
    assert [tool.name for tool in listed] == ["write", "look", "fail"]
    assert listed[0].input_schema["required"] == ["text"]


async def test_wrong_arguments_unknown_tools_and_failures_are_answers() -> None:
    async with serve_http(Desk(Diary().tools())) as address:
        answers = await call(address.tools, ("write", {"txt": "x"}), ("nothing", {}), ("fail", {"text": "x"}))
    assert [error for _, error in answers] == [True] * 3
    assert "text: Field required" in answers[0][0]
    assert "there are write, look, fail" in answers[1][0]
    assert answers[2][0] == "it cannot be done"


async def test_calls_that_write_run_one_by_one_and_others_side_by_side() -> None:
    diary = Diary()
    async with serve_http(Desk(diary.tools())) as address:
        await call(address.tools, *(("write", {"text": str(n)}) for n in range(3)))
        assert diary.most_at_once == 1
        answers = await call(address.tools, *(("look", {"text": str(n)}) for n in range(3)))
        assert answers == [(f"done: {n}", False) for n in range(3)]


async def test_who_does_not_know_the_address_gets_nothing() -> None:
    async with serve_http(Desk(Diary().tools())) as address:
        host = address.root.rpartition("/")[0]
        for url in (host, f"{host}/tools", f"{address.tools}x", address.root, f"{address.model}/v1"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                await asyncio.to_thread(urllib.request.urlopen, url)
            assert refused.value.code == 404


async def test_nobody_listens_afterwards() -> None:
    async with serve_http(Desk([])) as address:
        pass
    with pytest.raises(urllib.error.URLError, match="refused"):
        await asyncio.to_thread(urllib.request.urlopen, address.tools)
