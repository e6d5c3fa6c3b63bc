"""What one conversation was, line by line: enough to show it again, and to play it without whoever answered.

Of the request its changing words are kept, of the rest a digest; of the workspace, what changed in it. Keys are in none
of it: they never enter a request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vibeserve_tui import foreign_trees
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Brief, Result, Said, Status, Used, Waiting
from vibeserve_tui.errors import RunError
from vibeserve_tui.events import ToolCall
from vibeserve_tui.state.workspace import MAX_TREE_BYTES

LEFT_OUT = "__pycache__"
LARGEST_FILE = 10 << 20
"""As the store has it, which takes no larger one."""
SHOWN = 120
"""Characters of a line that is told of."""
BUDGET_LEFT = "Budget left:"
"""How a line begins that tells of time and money: a replay is quicker and free, so that cannot be the same again."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Opening(_Line):
    kind: Literal["opening"] = "opening"
    role: str
    number: int
    provider: str
    model: str
    fixed: Mapping[str, str]
    """Digests of what an agent is told, by what it is, but for the words of this one call."""
    asked: tuple[str, ...]
    """Those words, line by line, without what is left to spend."""

    @classmethod
    def of(cls, request: AgentRequest, brief: Brief, provider: str, model: str) -> Opening:
        tools = [[tool.name, tool.description, tool.arguments.model_json_schema()] for tool in brief.tools]
        parts = {
            "role and rights": brief.system,
            "target and skills": brief.stable,
            "tools": tools,
            "form of the answer": request.schema.model_json_schema(),
        }
        lines = (line for line in brief.volatile.splitlines() if not line.startswith(BUDGET_LEFT))
        return cls(
            role=request.role.value,
            number=request.number,
            provider=provider,
            model=model,
            fixed={name: _digest(part) for name, part in parts.items()},
            asked=tuple(lines),
        )

    def differs(self, now: Opening) -> str:
        """The first thing that is asked otherwise now than it was here; "" for the same request."""
        for name, digest in self.fixed.items():
            if now.fixed.get(name) != digest:
                return f"another text of its {name}"
        for was, line in zip_longest(self.asked, now.asked, fillvalue=""):
            if was != line:
                return f"{_shown(line)} instead of {_shown(was)}"
        return ""


class SaidLine(_Line):
    kind: Literal["said"] = "said"
    text: str


class UsedLine(_Line):
    kind: Literal["used"] = "used"
    call: ToolCall


class WaitingLine(_Line):
    kind: Literal["waiting"] = "waiting"
    why: str
    wait_s: float


class Changed(_Line):
    """A file or link of the workspace that is another than before; neither content nor link = it is gone."""

    kind: Literal["changed"] = "changed"
    path: str
    mode: int = 0o644
    content: str | None = None
    """Base 64."""
    link: str | None = None

    @property
    def is_gone(self) -> bool:
        return self.content is None and self.link is None


class Ending(_Line):
    kind: Literal["ending"] = "ending"
    status: Status
    value: dict[str, object] | None = None
    reason: str = ""
    halts: bool = False


_Any = Opening | SaidLine | UsedLine | WaitingLine | Changed | Ending
_ADAPTER: TypeAdapter[_Any] = TypeAdapter(Annotated[_Any, Field(discriminator="kind")])


@dataclass(frozen=True, slots=True)
class Transcript:
    opening: Opening
    events: tuple[Said | Used | Waiting, ...]
    changes: tuple[Changed, ...]
    ending: Ending

    @classmethod
    def parse(cls, data: bytes) -> Transcript:
        """Raises RunError for what is no whole transcript."""
        try:
            lines = [_ADAPTER.validate_json(line) for line in data.splitlines()]
        except ValidationError as error:
            raise RunError(f"a line of a transcript cannot be read: {error.errors()[0]['msg']}") from error
        events = tuple(event for line in lines if (event := _event(line)))
        changes = tuple(line for line in lines if isinstance(line, Changed))
        if not lines or not isinstance(lines[0], Opening) or not isinstance(lines[-1], Ending):
            raise RunError("a transcript has no beginning or no end")
        return cls(lines[0], events, changes, lines[-1])


def _event(line: _Any) -> Said | Used | Waiting | None:
    match line:
        case SaidLine(text=text):
            return Said(text)
        case UsedLine(call=call):
            return Used(call)
        case WaitingLine(why=why, wait_s=wait_s):
            return Waiting(why, wait_s)
        case _:
            return None


class Recorder:
    """Listens to one conversation."""

    def __init__(self, request: AgentRequest, brief: Brief, provider: str, model: str) -> None:
        self._watched = brief.workspace if brief.writable else None
        self._before = _files(self._watched) if self._watched else {}
        self._lines: list[_Any] = [Opening.of(request, brief, provider, model)]

    def hear(self, event: AgentEvent) -> None:
        match event:
            case Said(text=text):
                self._lines.append(SaidLine(text=text))
            case Used(call=call):
                self._lines.append(UsedLine(call=call))
            case Waiting(why=why, wait_s=wait_s):
                self._lines.append(WaitingLine(why=why, wait_s=wait_s))
            case Result() as end:
                value = end.value.model_dump(mode="json") if end.value else None
                ending = Ending(status=end.status, value=value, reason=end.reason, halts=end.halts)
                self._lines += [*self._changes(), ending]

    def data(self) -> bytes:
        return b"".join(line.model_dump_json().encode() + b"\n" for line in self._lines)

    def _changes(self) -> Iterator[Changed]:
        after = _files(self._watched) if self._watched else {}
        for path in sorted(self._before.keys() | after.keys()):
            if self._before.get(path) != after.get(path):
                yield after.get(path) or Changed(path=path)


def _digest(part: object) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def _shown(line: str) -> str:
    line = line.strip()
    return f"'{line[:SHOWN]}…'" if len(line) > SHOWN else f"'{line}'"


# ---- workspaces ---------------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, Changed]:
    """All files and links below the folder that a tree may hold, but for what interpreters cache there."""
    found, size = dict[str, Changed](), 0
    for name, mode, content in foreign_trees.files(folder, largest=LARGEST_FILE):
        if LEFT_OUT in PurePosixPath(name).parts:
            continue
        size += len(content)
        if size > MAX_TREE_BYTES:  # no store takes it; and it would all be held in memory
            break
        if isinstance(content, str):
            found[name] = Changed(path=name, link=content)
        else:
            found[name] = Changed(path=name, mode=stat.S_IMODE(mode), content=base64.b64encode(content).decode())
    return found


def apply_changes(changes: Sequence[Changed], workspace: Path) -> None:
    """Make the workspace what it was when the conversation ended. Raises RunError for a path that leads out of it."""
    root = workspace.resolve()
    for change in sorted(
        changes, key=lambda change: not change.is_gone
    ):  # a file may have become a folder, or the reverse
        path = root / PurePosixPath(change.path)
        if ".." in path.parts or not path.parent.resolve().is_relative_to(root):
            raise RunError(f"the transcript changes {change.path!r}, which is outside of the workspace")
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if not change.is_gone:
            path.parent.mkdir(parents=True, exist_ok=True)
        if change.link is not None:
            path.symlink_to(change.link)
        elif change.content is not None:
            path.write_bytes(base64.b64decode(change.content))
            path.chmod(change.mode)
