"""The real CLIs in front of a scripted model: which server they speak to, and how they call their tools and ours."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.agents.cli.fake_gemini import FakeGemini
from tests.fakes.llm import Call, FakeLLM, Request, Turn

SHELLS = {
    "claude": ("Bash",), "opencode": ("bash",), "gemini": ("run_shell_command",),
    "codex": ("exec_command", "shell_command", "shell"),
}  # fmt: skip
"""What each calls its shell; codex chooses by model and system."""


@contextmanager
def endpoint(cli: str, think: Callable[[Request], Turn]) -> Iterator[str]:
    """Where the CLI finds its model."""
    if shutil.which(cli) is None:
        pytest.fail(f"{cli} is not on the PATH: npm install -g …")
    if cli == "gemini":
        with FakeGemini(think) as google:
            yield google.url
        return
    with FakeLLM(think) as server:
        yield server.url if cli == "claude" else f"{server.url}/v1"


def tool_names(request: Request) -> list[str]:
    names: list[str] = []
    for tool in request.body.get("tools") or ():
        if tool.get("type") == "namespace":
            names += [f"{tool['name']}::{inner['name']}" for inner in tool["tools"]]
        else:
            names.append(tool["function"]["name"] if "function" in tool else tool.get("name", ""))
    return names


def is_for_a_role(request: Request) -> bool:
    """Or else for a title, a summary or the like, which CLIs ask for in between."""
    return any(name.endswith("submit") for name in tool_names(request))


def shell(command: str, names: Sequence[str], cli: str) -> Call:
    """The command in the CLI's own shell."""
    name = next(name for name in SHELLS[cli] if name in names)
    match name:
        case "exec_command":
            return Call(name, {"cmd": command})
        case "shell":
            return Call(name, {"command": ["bash", "-lc", command]})
        case _:
            return Call(name, {"command": command, "description": "run"})
