"""A small task for a language model, and a place to do it in: one tool that writes, one that reads, one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tests.fakes.llm import Brain, Call, FakeLLM, Turn
from vibeserve_tui.agents import anthropic_api, openai_api
from vibeserve_tui.agents.loop.api import Connect, converse
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.protocol import (
    AgentEvent,
    AgentRequest,
    Brief,
    Limits,
    QuestionFacts,
    Result,
    Role,
    Said,
    Tokens,
    Tool,
    ToolError,
    Used,
    Waiting,
)
from vibeserve_tui.events import VoiceSettings

WIRES = ("messages", "responses", "chat")
QUICK = Patience(silence_s=20.0, turn_s=40.0, first_wait_s=0.01, most_wait_s=0.02)
KEY_NAME = "VIBESERVE_TEST_KEY"
KEY = "sk-canary-5f1c2e7d9b8a4c3f"


class Write(BaseModel):
    path: str
    content: str


class Read(BaseModel):
    path: str


class Verdict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Literal["pass", "fail"]
    score: int


def write(path: str = "a", content: str = "hi") -> Call:
    return Call("write", {"path": path, "content": content})


def read(path: str = "a") -> Call:
    return Call("read", {"path": path})


SUBMIT = Turn(calls=[Call("submit", {"verdict": "pass", "score": 3})])


@dataclass
class Ledger:
    """A purse that allows everything and remembers what it was told."""

    opened: list[Tokens] = field(default_factory=list)
    exact: list[Tokens] = field(default_factory=list)
    guessed: list[Tokens] = field(default_factory=list)

    def allow(self, model: str, estimate: Tokens) -> str:
        self.opened.append(estimate)
        return str(len(self.opened))

    def paid(self, turn: str, model: str, tokens: Tokens, *, exact: bool = True) -> float | None:
        (self.exact if exact else self.guessed).append(tokens)
        return None

    @property
    def total(self) -> Tokens:
        return sum(self.exact, Tokens())


@dataclass
class Scene:
    """What happened in one conversation."""

    wire: str
    files: dict[str, str] = field(default_factory=dict)
    events: list[AgentEvent] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    most_at_once: int = 0
    _at_once: int = 0

    @property
    def result(self) -> Result:
        assert isinstance(self.events[-1], Result)
        return self.events[-1]

    @property
    def said(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Said)]

    @property
    def used(self) -> list[Any]:
        return [event.call for event in self.events if isinstance(event, Used)]

    @property
    def waits(self) -> list[Waiting]:
        return [event for event in self.events if isinstance(event, Waiting)]

    def tools(self) -> tuple[Tool, ...]:
        return (
            Tool("write", "Write a file.", Write, self._write, read_only=False),
            Tool("read", "Read a file.", Read, self._read),
        )

    async def _write(self, given: Write) -> str:
        self.files[given.path] = given.content
        return "written"

    async def _read(self, given: Read) -> str:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0.01)
        self._at_once -= 1
        if given.path not in self.files:
            raise ToolError(f"there is no {given.path}")
        return self.files[given.path]


def voice(server: FakeLLM, wire: str, **changes: Any) -> VoiceSettings:
    provider = "anthropic_api" if wire == "messages" else "openai_api"
    settings = VoiceSettings(
        provider=provider,
        name="fake",
        model="fake-1",
        api=wire,
        base_url=server.url if wire == "messages" else f"{server.url}/v1",
    )
    return settings.model_copy(update=changes)


def connect_of(wire: str) -> Connect:
    return anthropic_api.connect if wire == "messages" else openai_api.connect


def request_of(scene: Scene, limits: Limits | None = None, workspace: Path = Path()) -> AgentRequest:
    brief = Brief("You are a tester.", "The task: write a.", "Begin.", scene.tools(), workspace, writable=False)
    facts = QuestionFacts("does it work?")
    return AgentRequest(Role.ANALYST, facts, Verdict, brief, limits or Limits(turns=8), scene.ledger)


async def play(
    brain: Brain | Sequence[Turn],
    wire: str,
    *,
    limits: Limits | None = None,
    prepare: Callable[[Scene], None] = lambda scene: None,
    patience: Patience = QUICK,
    **settings: Any,
) -> tuple[Scene, FakeLLM]:
    """One conversation, to its end; the server's books are closed."""
    scene = Scene(wire)
    prepare(scene)
    with FakeLLM(brain) as server:
        asked = voice(server, wire, **settings)
        async for event in converse(asked, request_of(scene, limits), connect_of(wire), patience):
            scene.events.append(event)
    return scene, server
