from __future__ import annotations

from tests.recipes.landscape import spec_of
from vibeserve_tui.events import Figure, Measured, Outcome, RoundRecord, TaskPlan
from vibeserve_tui.recipes.history import long_shots, trials_of
from vibeserve_tui.recipes.recipe import RecipeBook
from vibeserve_tui.recipes.trials import Step
from vibeserve_tui.recipes.why import LONG_SHOT_ROW

BOOK = RecipeBook(
    [
        spec_of("a", capabilities={"provides": ["x.a"], "supersedes": ["engine.loop"]}),
        spec_of("b", capabilities={"provides": ["x.b"]}),
    ]
)
FIGURE = Figure(
    metric="output_throughput", level="c16", unit="tok/s", direction="max", ratio=1.3, ci_low=1.2, ci_high=1.4,
    headline=True,
)  # fmt: skip
BASELINE = RoundRecord(number=0, task=TaskPlan(title="baseline"), outcome=Outcome.KEPT, reason="")


def finished(number: int, skill: str, **keys: object) -> RoundRecord:
    task = TaskPlan(title=skill, skill=skill, params={"n": 1}, parent=number - 1)
    start = RoundRecord(number=number, task=task, outcome=Outcome.KEPT, reason="accepted", took_s=40.0)
    return start.model_copy(update=keys)


def test_rounds_become_trials_on_the_trees_they_started_from() -> None:
    measured = Measured(outcome="accepted", reason="", blocks=4, figures=(FIGURE,))
    rounds = [
        BASELINE,
        finished(1, "a", measured=measured, skills=("a",)),
        finished(2, "b", outcome=Outcome.FAILED, reason="judge: wrong tokens", skills=("a", "b")),
    ]
    first, second = trials_of(rounds, BOOK)
    assert (first.ratio, first.ci_low, first.ci_high, first.seconds) == (1.3, 1.2, 1.4, 40.0)
    assert first.capabilities == {"engine.loop", "engine.kv.dynamic", "http.sse"}
    assert (second.outcome, second.ratio, second.reason) == (Outcome.FAILED, None, "judge: wrong tokens")
    assert second.capabilities == {"x.a", "engine.kv.dynamic", "http.sse"}


def test_rounds_about_something_else_are_no_trials() -> None:
    by_agent = finished(1, "", task=TaskPlan(title="rewrite", kind="agent"))
    ablation = finished(2, "a", task=TaskPlan(title="drop a", skill="a", kind="ablation", drop="a"))
    tuned = finished(3, "a", task=TaskPlan(title="tune a", skill="a", kind="tune"))
    assert [trial.step for trial in trials_of([BASELINE, by_agent, finished(4, "gone"), ablation, tuned], BOOK)] == [
        Step.TUNE
    ]


def test_long_shots_are_counted_from_the_end() -> None:
    def shot(number: int) -> RoundRecord:
        return finished(number, "a", task=TaskPlan(title="a", skill="a", why=(LONG_SHOT_ROW,)))

    assert long_shots([BASELINE, shot(1), finished(2, "b"), shot(3), shot(4)]) == 2
    assert long_shots([BASELINE, shot(1), finished(2, "b")]) == 0
    assert long_shots([]) == 0
