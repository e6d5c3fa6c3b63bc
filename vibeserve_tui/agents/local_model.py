"""A model on this machine, by llama.cpp (a GGUF file) or mlx-lm (a folder).

It is loaded for one call and gone afterwards, so that it takes nothing from what is measured next. Small models get few
tools and whole-file writes; one that cannot call tools is told apart before any role waits for it.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from vibeserve_tui.agents.local.probe import Probed, Skill, probe
from vibeserve_tui.agents.local.process import Worker, working
from vibeserve_tui.agents.local.wire import LocalWire
from vibeserve_tui.agents.local.worker import GGUF, MLX
from vibeserve_tui.agents.loop.api import converse
from vibeserve_tui.agents.loop.connection import Patience
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Result, Said, Tool
from vibeserve_tui.errors import AgentError, EnvironmentFault, InputError
from vibeserve_tui.events import Rates, VoiceSettings

NAMES = (GGUF, MLX)
MAX_TOOLS = 5
"""Beside `submit`; a small model loses its way among more."""
MOST_USEFUL = (
    "read", "write", "skill", "bash", "run_check", "list_recipes", "rounds", "diff", "apply_recipe", "memory", "glob",
    "issues", "grep", "run_bench",
)  # fmt: skip
"""Nothing can be written before the skills are read that a task names."""
TOO_HARD = frozenset({"edit", "apply_patch"})
"""Small models fail at quoting what is there."""
PATIENCE = Patience(turn_s=1800.0)
"""A processor reads a long prompt for minutes."""


class Agent:
    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings
        self._probed: Probed | None = None

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        path = Path(self._settings.model)
        try:
            missing(self._settings)
            async with (
                working(_kind(self._settings), path, self._settings.context or 0) as worker,
                aclosing(self._answered(worker, request)) as events,
            ):
                async for event in events:
                    yield event
        except (AgentError, EnvironmentFault, InputError) as error:
            yield Result("error", reason=str(error), halts=True)

    async def _answered(self, worker: Worker, request: AgentRequest) -> AsyncGenerator[AgentEvent]:
        if self._probed is None:
            self._probed = await _useful(worker, self._settings)
            yield Said(self._probed.verdict)
        if request.brief is not None:
            request = replace(request, brief=replace(request.brief, tools=few(request.brief.tools)))
        settings = self._settings.model_copy(update={"context": worker.ready.context})
        async with aclosing(converse(settings, request, lambda *_: LocalWire(worker), PATIENCE)) as events:
            async for event in events:
                yield event


def completed(settings: VoiceSettings) -> VoiceSettings:
    """With its price, which is known: nothing."""
    free = Rates(input=0, output=0, cache_read=0, cache_write=0, source="this machine")
    return settings.model_copy(update={"prices": {settings.model: free}, "auth": "none"})


def missing(settings: VoiceSettings) -> None:
    """Raises EnvironmentFault for a package that is not there, InputError for a model that is not."""
    path, kind = Path(settings.model), _kind(settings)
    package, extra = ("llama_cpp", "llamacpp") if kind == GGUF else ("mlx_lm", "metal")
    if kind and importlib.util.find_spec(package) is None:
        raise EnvironmentFault(f"the package {package} is not installed", fix=f"pip install 'vibeserve-tui[{extra}]'")
    if not settings.model:
        raise InputError("no local model is named", fix="--model-name FILE.gguf, or the folder of a model for mlx")
    if not (path.is_file() if kind == GGUF else (path / "config.json").is_file()):
        raise InputError(
            "is not a model file or folder", where=str(path), fix="a .gguf file, or a folder with config.json"
        )


def reach(settings: VoiceSettings) -> str:
    """Load the model and ask it for a simple call; its verdict, unless that is good. Raises AgentError for one that cannot."""
    return asyncio.run(_reached(settings))


async def _reached(settings: VoiceSettings) -> str:
    async with working(_kind(settings), Path(settings.model), settings.context or 0) as worker:
        probed = await _useful(worker, settings)
    return "" if probed.skill is Skill.FOLLOWS else probed.verdict


async def _useful(worker: Worker, settings: VoiceSettings) -> Probed:
    """Raises AgentError for a model that cannot call tools."""
    probed = await probe(worker, Path(settings.model).name)
    if probed.skill is Skill.NONE:
        raise AgentError(probed.verdict, fix="take a model that was trained for chat or tools")
    return probed


def few(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """The most useful ones, in their own order."""
    known = sorted(
        (tool for tool in tools if tool.name not in TOO_HARD),
        key=lambda tool: MOST_USEFUL.index(tool.name) if tool.name in MOST_USEFUL else len(MOST_USEFUL),
    )
    kept = {tool.name for tool in known[:MAX_TOOLS]}
    return tuple(tool for tool in tools if tool.name in kept)


def _kind(settings: VoiceSettings) -> str:
    """Which library it takes; "" as long as nothing says so."""
    if settings.api or not settings.model:
        return settings.api
    return GGUF if settings.model.endswith(".gguf") else MLX
