"""What both wires of the openai SDK share: its errors as faults, and what a server is asked for without paying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx2
import openai

from vibeserve_tui.agents.loop.connection import never_sent
from vibeserve_tui.agents.loop.faults import MALFORMED, Fault, of_status


@contextmanager
def translated(*, begun: bool) -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        kind = error.code or error.type or ""
        raise of_status(error.status_code, kind, error.message, error.response.headers, begun=begun) from error
    except (openai.APIConnectionError, httpx2.TransportError) as error:
        why = f"{type(error).__name__}: {error.__cause__ or error}"
        raise Fault(why, "again", begun=begun or not never_sent(error)) from error
    except openai.APIError as error:  # an error event in mid-stream
        raise of_status(200, error.code or error.type or "server_error", error.message, {}, begun=begun) from error
    except MALFORMED as error:
        if not begun:
            raise
        raise Fault(f"the stream makes no sense: {type(error).__name__}: {error}", "again", begun=True) from error


class OpenAIServer:
    """A connection to a server that the SDK can talk to."""

    def __init__(self, client: openai.AsyncOpenAI, headers: Mapping[str, str | openai.Omit]) -> None:
        self._client = client
        self._headers = headers

    async def look_up(self, model: str) -> None:
        with translated(begun=False):
            await self._client.models.retrieve(model, extra_headers=self._headers)

    async def models(self) -> list[str]:
        with translated(begun=False):
            return [model.id async for model in self._client.models.list(extra_headers=self._headers)]

    async def close(self) -> None:
        await self._client.close()
