"""What the documentation says is so: generated pages are fresh, links lead somewhere, everything shipped is sound."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from vibeserve_tui import events
from vibeserve_tui.cli import VERBS, parser_of
from vibeserve_tui.inputs.profiles import load_profile
from vibeserve_tui.inputs.skills import load_skill
from vibeserve_tui.inputs.target import load_target, read_definition

ROOT = Path(__file__).parents[1]
WRITTEN = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("targets/*/*.md")])
SKILLS = sorted(path.parent for path in ROOT.glob("skills/*/SKILL.md"))
TARGETS = sorted(path.parent for path in ROOT.glob("targets/*/target.toml"))
PROFILES = sorted(ROOT.glob("profiles/*.toml"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["cli.md", "events.md", "architecture.md"])
def test_a_generated_page_is_what_make_docs_would_write(generate: ModuleType, name: str) -> None:
    page = ROOT / "docs" / name
    assert page.read_text() == generate.pages()[page], "stale: run `make docs`"


def test_every_verb_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for verb in VERBS:
        section = text.split(f"### vibeserve {verb}\n")[1].split("\n#")[0]
        for option in parser_of(verb).format_usage().split():
            if option.startswith("[--"):
                assert option.strip("[]") in section


def test_every_event_has_a_row_and_no_meaning_is_left_over(generate: ModuleType) -> None:
    text = (ROOT / "docs" / "events.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == events.KINDS
    documented = {
        cls.model_fields["kind"].default for cls in events.EVENT_CLASSES if "__doc__" in vars(cls) and cls.__doc__
    }
    assert set(generate.MEANINGS) == events.KINDS - documented


def test_the_story_names_functions_that_exist() -> None:
    story = (ROOT / "docs" / "architecture.md").read_text().split("## Map")[0].split("## Where to begin")[1]
    names = re.findall(r"`([a-z_.]+(?:\.[A-Z]\w+)?\.\w+)`", story)
    named = [name for name in names if not name.endswith(".py")]
    assert len(named) > 10
    assert [name for name in named if pkgutil.resolve_name(f"vibeserve_tui.{name}") is None] == []


def test_every_module_is_on_the_map_and_says_what_it_is() -> None:
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE))
    for path in [*ROOT.glob("vibeserve_tui/**/*.py"), *ROOT.glob("backends/**/*.py")]:
        name = str(path.relative_to(ROOT))
        if name != "vibeserve_tui/__init__.py":
            assert rows[name.replace("__init__.py", "")] != "–", name


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), link
        assert not anchor or anchor in anchors(place.read_text()), link


def anchors(text: str) -> set[str]:
    """The ids that a Markdown renderer gives to headings."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("folder", SKILLS, ids=lambda path: path.name)
def test_a_skill_obeys_the_agent_skills_rules(folder: Path) -> None:
    front = yaml.safe_load((folder / "SKILL.md").read_text().split("---\n")[1])
    assert front["name"] == folder.name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", front["name"])
    assert len(front["name"]) <= 64
    assert 0 < len(front["description"]) <= 1024
    assert set(front) <= {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
    assert all(isinstance(value, str) for value in front.get("metadata", {}).values())
    load_skill(folder)


def test_every_folder_of_skills_is_one() -> None:
    folders = [path for path in (ROOT / "skills").iterdir() if path.is_dir() and any(path.glob("[!_]*"))]
    assert sorted(folders) == SKILLS


@pytest.mark.parametrize("folder", TARGETS, ids=lambda path: path.name)
def test_a_shipped_target_loads(folder: Path) -> None:
    if read_definition(folder).model.source == "bundled":
        load_target(folder)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_a_shipped_profile_loads(path: Path) -> None:
    load_profile(path.stem)
