"""The evaluator's reading: figures by id, issues with evidence, and no harm done when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import measured, open_run
from tests.roles.bare import BareWorkplace
from tests.roles.scripted import scripted
from vibeserve_tui import events as ev
from vibeserve_tui.agents.protocol import load_voice
from vibeserve_tui.roles.reading import ProfileReader
from vibeserve_tui.state.run import Run

TAKEN = ev.ProfileTaken(
    round=1, tool="py-spy", quality="usable", phases={"model": 0.7, "http": 0.2}, hints=("model_bound",)
)
ISSUE = {
    "title": "Fewer writes", "code_evidence": "api.py:80", "metric_evidence": "m:output_throughput@c16",
    "profile_evidence": "p:http",
}  # fmt: skip
REPORT: dict[str, object] = {
    "bottleneck": "model", "limiting_resource": {"c16": "one core"}, "hints": [{"code": "x", "evidence": ["p:model"]}],
    "reading": "Most of m:output_throughput@c16 is p:model in the model.", "issues": [ISSUE],
}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = open_run(tmp_path)
    task = ev.TaskPlan(title="batch", kind="agent", profile_focus="why is http so slow?")
    record = ev.RoundRecord(
        number=1, task=task, outcome="kept", reason="", commit=run.state.champion_commit, measured=measured(ratio=1.5)
    )
    run.emit(ev.RoundFinished(record=record), ev.ChampionMoved(round=1, commit=run.state.champion_commit), TAKEN)
    return run


async def read(run: Run, report: dict[str, object]) -> BareWorkplace:
    workplace = BareWorkplace()
    voice = scripted(lambda role, prompt, results: [("submit", report)])
    await ProfileReader(run, voice, workplace).read(TAKEN, run.state.champion_commit)  # type: ignore[arg-type]
    return workplace


async def test_figures_in_a_reading_are_the_engines(run: Run) -> None:
    workplace = await read(run, REPORT)
    said = [line.text for line in run.state.feed if line.kind == "text"][-1]
    assert said == (
        "bottleneck model; c16: one core\n"
        "Most of 150.0 tok/s (m:output_throughput@c16) is 70% (p:model) in the model.\n"
        "hints: x (70% (p:model))"
    )
    (commission,) = workplace.commissions
    assert "The orchestrator asks: why is http so slow?" in commission.words
    assert "p:http = 20%" in commission.words


async def test_what_it_proposes_is_filed_once_with_its_evidence(run: Run) -> None:
    await read(run, REPORT)
    await read(run, REPORT)
    (issue,) = run.state.issues.values()
    assert (issue.title, issue.filed_by) == ("Fewer writes", "evaluator")
    assert "code: api.py:80\nmetric: m:output_throughput@c16\nprofile: p:http" in issue.body


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hints": [{"code": "x", "evidence": ["p:gpu"]}]}, "there is no evidence p:gpu"),
        ({"issues": [ISSUE | {"code_evidence": ""}]}, "issue 'Fewer writes' lacks code_evidence"),
        ({"issues": [ISSUE] * 4}, "at most 3 items"),
        ({"bottleneck": "gremlins"}, "Input should be"),
        ({"throughput": 900}, "Extra inputs are not permitted"),
    ],
)
async def test_a_reading_without_grounds_is_none_and_costs_a_warning(
    run: Run, changes: dict[str, object], says: str
) -> None:
    await read(run, REPORT | changes)
    assert any("was not read" in text and says in text for text in run.state.warnings)
    assert run.state.issues == {}


async def test_the_playbook_reads_without_words(run: Run) -> None:
    await ProfileReader(run, load_voice("playbook"), None).read(TAKEN, run.state.champion_commit)
    assert any("time goes to model 70%" in line.text for line in run.state.feed)
