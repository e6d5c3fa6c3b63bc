from __future__ import annotations

from pathlib import Path

import pytest

from tests.inputs.test_skills import FRONT, write_skill
from tests.recipes.workshop import KV, contents, make_seed, recipe_text, replace_kv, write_files
from vibeserve_tui.errors import SkillError
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.recipes.chain import apply_chain, closure
from vibeserve_tui.recipes.lint import SPECIMEN, lint
from vibeserve_tui.recipes.recipe import RecipeBook

STATIC = '    def cache(self):\n        return "static"\n'
ABOVE = STATIC.replace("static", "above")


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    return make_seed(tmp_path / "seed")


@pytest.fixture
def skills(tmp_path: Path) -> Path:
    folder = tmp_path / "skills"
    add_recipe(folder, "static", replace_kv("kv.py"), 'provides = ["engine.kv.static"]', {"kv.py": STATIC})
    above = 'needs = ["engine.kv.static"], provides = ["engine.kv.above"]'
    add_recipe(folder, "above", replace_kv("kv.py", expects=STATIC), above, {"kv.py": ABOVE})
    return folder


def add_recipe(skills: Path, name: str, apply: str, capabilities: str, assets: dict[str, str]) -> Path:
    folder = write_skill(skills, name, front=FRONT + '  vibe-recipe: "recipe.toml"\n')
    text = recipe_text(name, apply=apply, capabilities=capabilities)
    return write_files(folder, {"recipe.toml": text, **{f"assets/{key}": body for key, body in assets.items()}})


def faults(skills: Path, seed: Path | None = None) -> str:
    return "\n".join(lint(SkillLibrary.load([skills]), seed))


def test_a_sound_library_has_no_faults(skills: Path, seed: Path) -> None:
    assert faults(skills, seed) == ""


@pytest.mark.parametrize(
    ("capabilities", "says"),
    [
        ('needs = ["engine.kv.statc"]', "needs 'engine.kv.statc', which nothing provides; did you mean"),
        ('provides = ["x.y"], conflicts = ["engine.nothing"]', "conflicts with 'engine.nothing'"),
        ('supersedes = ["engine.nothing"]', "supersedes 'engine.nothing'"),
        ('provides = ["engine.kv.static"]', "neither declares a conflict"),
        ('conflicts = ["engine.kv.static"]', "provides nothing"),
        ('needs = ["x.z"], provides = ["x.y"], conflicts = ["x.z"]', "needs and conflicts with 'x.z'"),
    ],
)
def test_relations_that_make_no_sense_are_faults(skills: Path, capabilities: str, says: str) -> None:
    add_recipe(skills, "odd", replace_kv("kv.py"), capabilities, {"kv.py": STATIC})
    assert says in faults(skills)


def test_a_circle_of_needs_is_a_fault(skills: Path) -> None:
    add_recipe(skills, "x", replace_kv("kv.py"), 'needs = ["c.y"], provides = ["c.x"]', {"kv.py": STATIC})
    add_recipe(skills, "y", replace_kv("kv.py"), 'needs = ["c.x"], provides = ["c.y"]', {"kv.py": STATIC})
    assert "these recipes need each other: x, y" in faults(skills)


def test_an_outdated_digest_is_a_fault_that_names_the_right_one(skills: Path, seed: Path) -> None:
    engine = seed / "server/engine.py"
    engine.write_text(engine.read_text().replace(KV, KV + "    MORE = 1\n"))
    found = faults(skills, seed)
    assert "expects another text in server/engine.py#kv; what is there has the digest sha256:" in found


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ({}, {}, ""),
        ({"server/engine.py": f"# region: kv\n{KV}# endregion: kv\n"}, {}, "only one of"),
        (
            {"server/engine.py": f"# region: kv\n{KV}# endregion: kv\n"},
            {"server/engine.py": f"# region: kv\n{STATIC}# endregion: kv\n"},
            "",
        ),
        (
            {"server/engine.py": f"# region: kv\n{KV}# endregion: kv\n", "b.py": "x = 1\n"},
            {"server/engine.py": f"# region: kv\n{ABOVE}# endregion: kv\n", "c.py": "x = 1\n"},
            "gives another tree than tests/after: b.py, c.py, server/engine.py",
        ),
        ({"server/engine.py": "\n"}, {"server/engine.py": "\n"}, "does not go onto tests/before"),
    ],
    ids=["absent", "half", "right", "different", "inapplicable"],
)
def test_golden_trees_are_compared(skills: Path, before: dict[str, str], after: dict[str, str], says: str) -> None:
    # The second region keeps the indented bodies of the assets legal Python.
    head = "class Engine:\n    X = 1\n"
    for name, files in (("before", before), ("after", after)):
        with_head = {path: head + text if "region" in text else text for path, text in files.items()}
        write_files(skills / "static/tests" / name, with_head)
    found = faults(skills)
    assert (says in found) if says else found == ""


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("[there](SKILL.md) [web](https://example.org/x) [part](#part)\n", ""),
        ("[gone](references/gone.md)\n", "links to references/gone.md, which does not exist"),
        ("[other](../one-platform/SKILL.md)\n", "links to one-platform, which is for one"),
        ("```python\nx = (\n```\n", "a Python example does not compile"),
        ("```python\nx = 1\n```\n", ""),
        ("line\n" * 501, "at most 500"),
    ],
)
def test_the_text_of_a_skill_is_checked(skills: Path, body: str, says: str) -> None:
    write_skill(skills, "one-platform", front=FRONT.replace('vibe-class: "A"', 'vibe-class: "C"'))
    write_skill(skills, "text", body=body)
    found = faults(skills)
    assert (says in found) if says else found == ""


def test_a_recipe_that_the_front_matter_does_not_name_is_a_fault(skills: Path) -> None:
    (write_skill(skills, "quiet") / "recipe.toml").touch()
    assert "does not name" in faults(skills)


def test_a_chain_is_applied_in_order_to_a_copy_of_the_seed(skills: Path, seed: Path, tmp_path: Path) -> None:
    book = RecipeBook.load(SkillLibrary.load([skills]))
    before = contents(seed)
    assert closure(book, ["above"]) == {"above", "static"}
    results = apply_chain(book, {"above": {}, "static": {}}, seed, tmp_path / "tree", SPECIMEN)
    assert [len(result.changes) for result in results] == [2, 2]
    assert ABOVE in contents(tmp_path / "tree")["server/engine.py"]
    assert contents(seed) == before


def test_a_chain_that_lacks_something_says_what(skills: Path, seed: Path, tmp_path: Path) -> None:
    book = RecipeBook.load(SkillLibrary.load([skills]))
    with pytest.raises(SkillError, match=r"above: does not go onto the seed: needs engine\.kv\.static"):
        apply_chain(book, {"above": {}}, seed, tmp_path / "tree", SPECIMEN)
