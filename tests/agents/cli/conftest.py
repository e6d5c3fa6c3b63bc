"""Fake CLIs installed as a user would have them, a real launcher, and a purse that keeps the books."""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import BaseModel, ConfigDict, Field

from tests.execution.conftest import launched, marked, run_of
from vibeserve_tui.agents.cli import process
from vibeserve_tui.agents.coding_cli import Agent
from vibeserve_tui.agents.protocol import (
    AgentEvent,
    AgentRequest,
    Brief,
    Limits,
    PerfFacts,
    Result,
    Role,
    Tokens,
    Tool,
    ToolError,
)
from vibeserve_tui.errors import BudgetSpent
from vibeserve_tui.events import ProfileTaken, VoiceSettings
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher

FAKE = Path(__file__).parents[2] / "fakes_cli" / "fake_cli.py"
KEY = f"sk-canary-{uuid.uuid4().hex}"
MODELS = {"opencode": "anthropic/m"}
ALL = ("claude", "codex", "gemini", "opencode")


class Report(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str = Field(max_length=100)
    changed: int = 0


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str


@dataclass
class Ledger:
    """A purse with a limit in tokens; one token costs one dollar."""

    limit: int = 10**9
    asked: list[Tokens] = field(default_factory=list)
    settled: list[tuple[Tokens, bool]] = field(default_factory=list)

    def allow(self, model: str, estimate: Tokens) -> str:
        if self.spent.total >= self.limit:
            raise BudgetSpent("the run's budget is spent")
        self.asked.append(estimate)
        return str(len(self.asked))

    def paid(self, turn: str, model: str, tokens: Tokens, *, exact: bool = True) -> float | None:
        assert turn == str(len(self.asked))
        self.settled.append((tokens, exact))
        return float(tokens.total)

    @property
    def spent(self) -> Tokens:
        return sum((tokens for tokens, _ in self.settled), Tokens())


@dataclass
class Stage:
    """One place to ask from: workspace, tools, ledger; `ask` plays a scenario through a CLI."""

    launcher: Launcher
    workspace: Path
    ledger: Ledger = field(default_factory=Ledger)
    notes: list[str] = field(default_factory=list)
    limits: Limits = field(default_factory=lambda: Limits(usd=None, wall_s=30.0))
    settings: dict[str, object] = field(default_factory=dict)

    def request(
        self,
        *first: list[object],
        then: list[list[object]] | None = None,
        thinks: bool = False,
        **changes: object,
    ) -> AgentRequest:
        """A program that thinks asks its model; any other plays what it is told."""
        words = "Do it." if thinks else f"<scenario>{json.dumps([[*first], then or []])}</scenario>"
        brief = Brief(
            system="You are a role.",
            stable="The objective.",
            volatile=words,
            tools=(self._note_tool(), Tool("bash", "ours", Note, self._take_note)),
            workspace=self.workspace,
            writable=True,
        )
        facts = PerfFacts(ProfileTaken(round=1, tool="t", quality="usable"))
        request = AgentRequest(Role.IMPLEMENTER, facts, Report, replace(brief, **changes), self.limits)
        return replace(request, purse=self.ledger, launcher=self.launcher)

    async def ask(self, cli: str, *first: list[object], **changes: object) -> tuple[list[AgentEvent], Result]:
        settings = VoiceSettings.model_validate(
            {"provider": "coding_cli", "api": cli, "model": MODELS.get(cli, "m"), "api_key_env": "TEST_KEY"}
            | self.settings
        )
        events = [event async for event in Agent(settings).run(self.request(*first, **changes))]
        assert isinstance(events[-1], Result)
        return events[:-1], events[-1]

    def _note_tool(self) -> Tool:
        return Tool("note", "Keep a note.", Note, self._take_note, read_only=False)

    async def _take_note(self, note: Note) -> str:
        if note.text == "impossible":
            raise ToolError("that cannot be noted")
        self.notes.append(note.text)
        return f"noted {note.text}"


def carrying_a_cookie(launcher: Launcher) -> list[int]:
    """Processes of calls that this launcher boxed."""
    found = []
    for pid in marked(run_of(launcher)):
        try:
            if process.COOKIE.encode() + b"=" in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
        except OSError:  # it ended meanwhile
            continue
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def launcher() -> AsyncIterator[Launcher]:
    async with launched(Tier.BWRAP) as started:
        yield started


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user who has all four CLIs, a key, and secrets that are nobody's business."""
    programs = tmp_path / "home" / "bin"
    programs.mkdir(parents=True)
    for name in ALL:
        program = programs / name
        program.write_text(f"#!{sys.executable} -I\n{FAKE.read_text('utf-8')}", "utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.setenv("NOBODYS_BUSINESS", "canary-of-the-environment")
    return tmp_path / "home"


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """For programs that ignore interrupts: the whole grace would be waited for."""
    monkeypatch.setattr(process, "GRACE_S", 0.3)


@pytest.fixture
def stage(launcher: Launcher, home: Path, tmp_path: Path) -> Stage:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "server.py").write_text("speed = 1\n")
    return Stage(launcher, workspace)
