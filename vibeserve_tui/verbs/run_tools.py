"""The tools of `vibeserve mcp`: what roles use to look at their run.

Before each call the journal is read on, so a server that lives for hours never tells of an old state.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.outputs import PREFIX, Outputs
from vibeserve_tui.agents.toolbox.recipes import ApplyRecipe, ListRecipes, RecipeDesk, apply_tool, list_tool
from vibeserve_tui.agents.toolbox.record import diff_tool, issues_tool, memory_tool, rounds_tool
from vibeserve_tui.backend import load_backend
from vibeserve_tui.client import AttachedClient
from vibeserve_tui.commands import NewIssue
from vibeserve_tui.errors import BackendError, RunError
from vibeserve_tui.evaluation.workload import Workload
from vibeserve_tui.events import IssueType, RunPlan
from vibeserve_tui.inputs.model_folder import read_model_shape
from vibeserve_tui.inputs.own_skills import skills_folders
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.target import load_target
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.roles.briefing import Briefing
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.state.workspace import Store

ANSWER_S = 10.0
COMPILERS = ("c++", "g++", "clang++")


class Nothing(Arguments):
    pass


class FileIssue(Arguments):
    title: str = Field(min_length=1, max_length=200)
    type: IssueType = IssueType.PERF
    body: str = Field(default="", max_length=8000, description="what is the matter, on what evidence, done when")
    priority: int = Field(default=2, ge=1, le=3, description="1 is the most urgent")


class ReadOutput(Arguments):
    path: str = Field(max_length=100, description=f"{PREFIX}… as an earlier result named it")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run that somebody else may be working on."""

    state: RunState
    store: Store


class RunTools:
    def __init__(self, run: RunDir, client: AttachedClient, workspace: Path | None) -> None:
        self._run = run
        self._client = client
        self._workspace = workspace
        self._store = Store(run.store)
        self._outputs = Outputs(lambda data: hashlib.sha256(data).hexdigest())
        self._briefing: Briefing | None = None

    def all(self) -> tuple[Tool, ...]:
        return tuple(map(self._up_to_date, self._tools()))

    def _tools(self) -> Iterator[Tool]:
        state, outputs = self._client.state, self._outputs
        yield Tool("run_state", "Where the run stands: phase, champion, gain, budget.", Nothing, self._stand)
        yield issues_tool(state, outputs)
        yield Tool("file_issue", "Put an issue on the board of a run that is going on.", FileIssue, self._file, False)
        yield memory_tool(state, outputs)
        yield rounds_tool(state, outputs)
        yield diff_tool(state, self._store, outputs)
        yield Tool("list_recipes", "The recipes: which fit now, and what they gave so far.", ListRecipes, self._list)
        if self._workspace is not None:
            what = f"Apply a recipe to {self._workspace}; all of it or nothing."
            yield Tool("apply_recipe", what, ApplyRecipe, self._apply, False)
        yield Tool("read", "The whole of a result that was cut.", ReadOutput, self._read)

    def _up_to_date(self, tool: Tool) -> Tool:
        async def call(arguments: Arguments) -> str:
            self._poll()
            with told():
                return await tool.call(arguments)

        return replace(tool, call=call)

    def _poll(self) -> None:
        while self._client.poll():
            pass

    async def _stand(self, _: Nothing) -> str:
        state = self._client.state
        gain = f"×{state.total_gain:.2f} over the baseline" if state.total_gain else "gain not measured"
        lines = [
            f"run {self._run.name}, target {state.plan.target if state.plan else '?'}: {self._client.liveness()}",
            f"phase {state.phase} {state.phase_detail}".rstrip(),
            f"champion: round {state.champion}, {gain}",
            f"rounds: {state.rounds_played} of {state.max_rounds}; {len(state.kept)} kept",
            f"agents took {state.tokens} tokens, {'an unknown sum' if state.usd is None else f'{state.usd:.2f} USD'}",
        ]
        if state.approval is not None:
            lines.append(f"round {state.approval.round} waits for the operator's answer")
        return "\n".join(lines)

    async def _file(self, issue: FileIssue) -> str:
        if lock_holder(self._run) is None:
            raise ToolError(f"no engine works on {self._run.name}, so nobody would put it on the board")
        identifier = self._client.send(NewIssue(**issue.model_dump(), by="mcp"))
        deadline = time.monotonic() + ANSWER_S
        while identifier not in self._client.state.answered:
            if time.monotonic() > deadline:
                raise ToolError("the engine did not answer yet; the issue waits in its inbox")
            await asyncio.sleep(0.05)
            self._poll()
        answer = self._client.state.answered[identifier]
        if answer != "accepted":
            raise ToolError(answer)
        return "filed"

    async def _list(self, arguments: ListRecipes) -> str:
        desk = await asyncio.to_thread(self._desk)
        return await list_tool(desk, self._outputs).call(arguments)

    async def _apply(self, arguments: ApplyRecipe) -> str:
        assert self._workspace is not None
        desk = await asyncio.to_thread(self._desk)
        return await apply_tool(desk, self._workspace, self._outputs).call(arguments)

    async def _read(self, arguments: ReadOutput) -> str:
        return self._outputs.read(arguments.path.removeprefix(PREFIX))

    # ---- recipes ------------------------------------------------------------------------------------------------

    def _desk(self) -> RecipeDesk:
        """The recipes as the run's history lets them appear now."""
        state = self._client.state
        if state.plan is None or 0 not in state.rounds:
            raise RunError("the run has no baseline yet", where=self._run.name)
        if self._briefing is None:
            self._briefing = _briefing(self._run, state.plan)
        seconds_left = max(0.0, 60 * state.max_minutes - state.active_s)
        recorded = Recorded(state, self._store)
        situation = self._briefing.situation(recorded, rounds_left=state.rounds_left, seconds_left=seconds_left)
        return RecipeDesk(self._briefing.book, situation)


def _briefing(run: RunDir, plan: RunPlan) -> Briefing:
    """What the run's own engine was told, from the same sources; a compiler counts when it is found by name."""
    model_dir = Path(plan.model_dir) if plan.model_dir else None
    target = load_target(run.path / "target" / plan.target, model=model_dir).for_backend(plan.backend)
    device = next(iter(load_backend(plan.backend).detect()), None)
    if device is None:
        raise BackendError(f"backend {plan.backend} finds no device here")
    forbids = frozenset(target.spec.forbids) | frozenset(plan.forbids)
    has_compiler = "compiler" not in forbids and any(map(shutil.which, COMPILERS))
    return Briefing(
        target=target,
        device=device,
        backend=plan.backend,
        shape=read_model_shape(target.model_dir),
        book=RecipeBook.load(SkillLibrary.load(skills_folders())),
        tools=frozenset({"cxx"}) if has_compiler else frozenset(),
        forbids=forbids,
        p50_prompt_len=round(median(len(request.prompt_ids) for request in Workload.load(target).draw(1, 64))),
    )
