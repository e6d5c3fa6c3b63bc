"""Faults of skill texts that a reader would trip over: too long, dead links, code that does not compile."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from vibeserve_tui.inputs.skills import MAX_LINES, Portability, Skill, SkillLibrary

_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^```python[^\n]*\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


def skill_faults(skill: Skill, library: SkillLibrary) -> Iterator[str]:
    """Every fault of one SKILL.md as `path: what`."""
    lines = skill.path.read_text(encoding="utf-8").count("\n")
    if lines > MAX_LINES:
        yield f"{skill.path}: {lines} lines, at most {MAX_LINES}: move details to references/"
    if skill.recipe is None and (skill.folder / "recipe.toml").exists():
        yield f"{skill.path}: has a recipe.toml that metadata.vibe-recipe does not name"
    for link in _LINK.finditer(skill.body):
        yield from _link_faults(skill, link["target"].split("#", maxsplit=1)[0], library)
    for block in _FENCE.finditer(skill.body):
        if problem := _syntax_problem(block["code"]):
            yield f"{skill.path}: a Python example does not compile: {problem}"


def _link_faults(skill: Skill, target: str, library: SkillLibrary) -> Iterator[str]:
    if not target or re.match(r"[a-z]+:", target):
        return
    path = (skill.folder / target).resolve()
    if not path.exists():
        yield f"{skill.path}: links to {target}, which does not exist"
    other = next((s for s in library.values() if path.is_relative_to(s.folder.resolve())), skill)
    one_platform = other.tags.portability is Portability.ONE_PLATFORM
    if one_platform and skill.tags.portability is not Portability.ONE_PLATFORM:
        yield f"{skill.path}: is meant for every backend but links to {other.name}, which is for one"


def _syntax_problem(code: str) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(code, "example", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return str(error)
    return ""
