"""What an agent wrote becomes a recipe that the linter accepts, or it is said why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.fakes import measured
from vibeserve_tui import events as ev
from vibeserve_tui.cli import main
from vibeserve_tui.errors import SkillError
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.recipes.apply import Applied, apply
from vibeserve_tui.recipes.chain import apply_chain, closure
from vibeserve_tui.recipes.lint import SPECIMEN, lint
from vibeserve_tui.recipes.promote import Origin, skill_files
from vibeserve_tui.recipes.promotion import Change, promote
from vibeserve_tui.recipes.recipe import RecipeBook, load_recipe
from vibeserve_tui.resources import Shipped, shipped_folder, shipped_targets
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir

SKILLS = shipped_folder(Shipped.SKILLS)
TARGET = shipped_targets()["tiny-llama-chat"]
SEED = TARGET / "seed"
BOOK = RecipeBook.load(SkillLibrary.load([SKILLS]))


def files_of(tree: Path) -> dict[str, str]:
    return {
        path.relative_to(tree).as_posix(): path.read_text("utf-8")
        for path in sorted(tree.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def origin(**changes: object) -> Origin:
    hypothesis = ev.Hypothesis(
        claim="steps are fuller", mechanism="less waiting", activation="counted_steps", invariants=("ids stay",)
    )
    task = ev.TaskPlan(title="Count: the steps", kind="agent", family="schedule", hypothesis=hypothesis)
    record = ev.RoundRecord(
        number=7, task=task, outcome="kept", reason="", measured=measured(ratio=1.25), commit="x", files_changed=1
    )
    fields: dict[str, object] = {
        "name": "counted-steps", "record": record, "run": "run-1", "backend": "cpu", "device": "A processor",
        "architecture": "llama", "accuracy": "exact",
    }  # fmt: skip
    return Origin(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def batching(tmp_path: Path) -> dict[str, str]:
    """The tree of a champion: the seed with the recipes that batch."""
    tree = tmp_path / "parent"
    apply_chain(BOOK, {name: {} for name in closure(BOOK, ["continuous-batching"])}, SEED, tree, SPECIMEN)
    return files_of(tree)


def changed(before: dict[str, str]) -> dict[str, str]:
    """An edit in a region, a key, a new file and a file without regions: what agents do."""
    after = dict(before)
    after["server/decode.py"] = before["server/decode.py"].replace("for sequence, token in", "for  sequence, token in")
    after["server/config.json"] = (
        json.dumps(json.loads(before["server/config.json"]) | {"gather_ms": 2, "mode": "eager"}, indent=2) + "\n"
    )
    after["server/gather.py"] = "LIMIT = 2\n"
    after["server/tokens.py"] = before["server/tokens.py"] + "\n# looked at\n"
    return after


def test_an_accepted_change_becomes_a_recipe_that_passes_the_linter_with_all_others(
    batching: dict[str, str], tmp_path: Path
) -> None:
    after = changed(batching)
    folder = promote(origin(), Change(batching, after, SEED), [SKILLS], tmp_path / "own")
    library = SkillLibrary.load([SKILLS, tmp_path / "own"])
    assert lint(library, SEED) == []
    recipe = load_recipe(folder / "recipe.toml")
    assert recipe.provides == {"written.counted_steps"}
    assert "engine.kv.static" in recipe.needs and "engine.batching" not in recipe.needs
    assert [operation.op for operation in recipe.spec.apply].count("set_config") == 2
    assert recipe.spec.prior.log_gain == pytest.approx(0.2231, abs=1e-4)
    assert "×1.250 [1.212, 1.288] on output_throughput" in (folder / "SKILL.md").read_text()
    offers = {offer.skill.name: offer.offered for offer in library.for_backend({"cpu"}, "text_generation", ())}
    assert (
        offers["counted-steps"]
        and not SkillLibrary.load([tmp_path / "own"]).for_backend({"metal"}, "text_generation", ())[0].offered
    )
    assert not any(word in text for text in files_of(folder).values() for word in ("TODO", "FIXME"))


def test_it_gives_the_rounds_tree_byte_for_byte_and_changes_nothing_twice(
    batching: dict[str, str], tmp_path: Path
) -> None:
    after = changed(batching)
    recipe = load_recipe(promote(origin(), Change(batching, after, SEED), [SKILLS], tmp_path / "own") / "recipe.toml")
    tree = tmp_path / "again"
    for name, text in batching.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    first, second = apply(recipe, {}, tree, SPECIMEN), apply(recipe, {}, tree, SPECIMEN)
    assert isinstance(first, Applied) and isinstance(second, Applied)
    assert first.changes and not second.changes
    found = files_of(tree)
    assert {k: v for k, v in found.items() if not k.startswith(".")} == {
        k: v for k, v in after.items() if not k.startswith(".")
    }


def test_a_replaced_file_expects_the_text_it_replaces(batching: dict[str, str], tmp_path: Path) -> None:
    """A whole file is only replaced where nobody else changed it."""
    after = changed(batching)
    recipe = load_recipe(promote(origin(), Change(batching, after, SEED), [SKILLS], tmp_path / "own") / "recipe.toml")
    tree = tmp_path / "other"
    for name, text in (batching | {"server/tokens.py": "something else\n"}).items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    result = apply(recipe, {}, tree, SPECIMEN)
    assert not isinstance(result, Applied)
    assert "server/tokens.py" in str(result)


def test_what_builds_on_an_agents_earlier_work_is_refused_and_nothing_is_written(
    batching: dict[str, str], tmp_path: Path
) -> None:
    before = changed(batching)
    after = before | {"server/gather.py": "LIMIT = 3\n"}
    with pytest.raises(SkillError, match="promote the rounds first that it builds on"):
        promote(origin(), Change(before, after, SEED), [SKILLS], tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_a_round_that_changed_nothing_makes_no_recipe(batching: dict[str, str]) -> None:
    with pytest.raises(SkillError, match="changed nothing"):
        skill_files(origin(), batching, dict(batching), BOOK)


def test_a_name_that_is_taken_is_refused(batching: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="already"):
        promote(origin(name="http-path"), Change(batching, changed(batching), SEED), [SKILLS], tmp_path / "own")


def test_a_name_that_leads_elsewhere_is_none(batching: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="is no name of a skill"):
        promote(origin(name="../elsewhere"), Change(batching, changed(batching), SEED), [SKILLS], tmp_path / "own")
    assert not (tmp_path / "elsewhere").exists()


def test_the_verb_promotes_a_kept_round_of_an_agent_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, own = recorded_run(tmp_path), tmp_path / "own"
    assert main(["skills", "promote", str(run.path), "1", "--as", "looked-at", "--skills-dir", str(own)]) == 0
    assert capsys.readouterr().out.strip() == str(own / "looked-at")
    assert (own / "looked-at" / "recipe.toml").exists()
    for number, says in (("2", "is reverted"), ("9", "no finished round 9"), ("0", "of kind recipe")):
        assert main(["skills", "promote", str(run.path), number, "--skills-dir", str(own)]) == 2
        assert says in capsys.readouterr().err


def recorded_run(folder: Path) -> RunDir:
    """A run whose first round is an agent's change of the seed."""
    directory = RunDir(folder / "run")
    directory.create()
    shutil.copytree(TARGET, directory.path / "target" / "tiny-llama-chat", ignore=shutil.ignore_patterns("training"))
    run = Run(directory)
    plan = ev.RunPlan(target="tiny-llama-chat", target_path=str(TARGET), target_digest="0" * 64)
    device = ev.DeviceSummary(id="cpu:0", name="A processor", backend="cpu", fingerprint="f")
    run.emit(ev.RunStarted(run="run", plan=plan, device=device))
    tree = Path(shutil.copytree(SEED, folder / "tree", ignore=shutil.ignore_patterns("__pycache__")))
    parent = None
    for number, outcome in enumerate(("kept", "kept", "reverted")):
        if number:
            (tree / "server" / "tokens.py").write_text((tree / "server" / "tokens.py").read_text() + f"# {number}\n")
        commit = run.store.snapshot(tree, ref=f"attempts/00{number}/1", parent=parent, message="x", when=1_700_000_000)
        parent = commit.sha
        task = ev.TaskPlan(title=f"t{number}", kind="agent" if number else "recipe", family="http")
        record = ev.RoundRecord(
            number=number, task=task, outcome=outcome, reason="", commit=commit.sha, measured=measured(ratio=1.1)
        )
        run.emit(ev.RoundFinished(record=record))
    run.close()
    return directory
