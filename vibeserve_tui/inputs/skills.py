"""Skills: folders in the Agent Skills format, validated once, and which of them fit a backend and a target.

It reads SKILL.md only; the machine-applicable part (`recipe.toml`) belongs to `recipes`. It never decides what to
try: it says which skills may be offered, in what order, and why the others are not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, StringConstraints

from vibeserve_tui.errors import SkillError, did_you_mean
from vibeserve_tui.inputs.toml_files import Section, read_text, validate

MAX_FRONT_MATTER = 16 << 10
MAX_LINES = 500
"""Of a whole SKILL.md; details belong in references/."""


class Kind(StrEnum):
    """What a skill is about."""

    TECHNIQUE = "technique"
    KERNEL = "kernel"
    DTYPE = "dtype"
    TUNING = "tuning"
    FRAMEWORK = "framework"
    LIBRARY = "library"
    MODEL = "model"
    HARDWARE = "hardware"
    METHOD = "method"


class Portability(StrEnum):
    """Would following the skill on another backend produce wrong work?"""

    PORTABLE = "A"
    PER_BACKEND = "B"
    """The rule holds everywhere, the means differ: one table row per backend."""
    ONE_PLATFORM = "C"


PHASES = ("prefill", "decode", "sample", "schedule", "grammar", "tokenize", "http", "all")
MODALITIES = ("text", "speech", "image", "all")
TAGS = ("backends", "kind", "phases", "modalities", "needs", "bottlenecks", "class", "recipe", "verified")
NAME = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")
LONGEST_NAME = 64
_PREFIX = "vibe-"
_FILE = re.compile(r"\w[\w.-]{0,99}")


class FrontMatter(Section):
    """The head of a SKILL.md, exactly as the Agent Skills format has it."""

    name: Annotated[str, StringConstraints(pattern=NAME.pattern, max_length=LONGEST_NAME)]
    description: str = Field(min_length=1, max_length=1024)
    """What it does and when to use it."""
    license: str = ""
    compatibility: str = Field(default="", max_length=500)
    metadata: Mapping[str, str] = Field(default_factory=dict)
    allowed_tools: str = Field(default="", alias="allowed-tools")


@dataclass(frozen=True, slots=True)
class Tags:
    """The `vibe-*` entries of a skill's metadata."""

    backends: frozenset[str]
    kind: Kind
    phases: frozenset[str]
    modalities: frozenset[str]
    portability: Portability
    needs: frozenset[str] = frozenset()
    """Device capabilities, all of which must be present."""
    bottlenecks: frozenset[str] = frozenset()
    """Profiler hints that raise the skill's rank."""
    verified: frozenset[str] = frozenset()
    """Backends on which its claims were measured."""


@dataclass(frozen=True, slots=True)
class Skill:
    """One validated skill folder."""

    name: str
    description: str
    folder: Path
    body: str
    """Markdown below the front matter."""
    tags: Tags
    license: str = ""
    recipe: Path | None = None
    shadows: Path | None = None
    """The folder of the skill of the same name that this one replaces."""

    @property
    def path(self) -> Path:
        return self.folder / "SKILL.md"


@dataclass(frozen=True, slots=True)
class Offer:
    """Whether a skill fits here, and the reason in words."""

    skill: Skill
    offered: bool
    rank: int
    """Higher comes first."""
    why: str


class SkillLibrary(Mapping[str, Skill]):
    """All skills by name."""

    def __init__(self, skills: Iterable[Skill]) -> None:
        self._skills = {skill.name: skill for skill in sorted(skills, key=lambda skill: skill.name)}

    @classmethod
    def load(cls, folders: Iterable[Path]) -> SkillLibrary:
        """Every skill of every folder; one in a later folder replaces its namesake. Raises SkillError."""
        found: dict[str, Skill] = {}
        for folder in skill_folders(folders):
            skill = load_skill(folder)
            earlier = found.get(skill.name)
            found[skill.name] = replace(skill, shadows=earlier.folder) if earlier else skill
        return cls(found.values())

    def __getitem__(self, name: str) -> Skill:
        return self._skills[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._skills)

    def __len__(self) -> int:
        return len(self._skills)

    def find(self, name: str) -> Skill:
        """The skill a person named. Raises SkillError with a suggestion."""
        if name not in self._skills:
            hint = did_you_mean(name, self._skills)
            raise SkillError(f"no skill named {name!r}{hint}", fix="`vibeserve skills` lists them")
        return self._skills[name]

    def for_backend(
        self, backend_tags: Collection[str], modality: str, capabilities: Collection[str], hints: Collection[str] = ()
    ) -> tuple[Offer, ...]:
        """All skills, offered ones first and by rank. `modality` is the target's, e.g. "text_generation"."""
        offers = [_offer(skill, backend_tags, modality, capabilities, hints) for skill in self.values()]
        return tuple(sorted(offers, key=lambda offer: (not offer.offered, -offer.rank, offer.skill.name)))


def skill_folders(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise SkillError("there is no such folder", where=str(folder), fix="check the skills path")
        yield from sorted(
            child for child in folder.iterdir() if child.is_dir() and not child.name.startswith((".", "_"))
        )


def load_skill(folder: Path) -> Skill:
    """Read and check one skill folder. Raises SkillError with file and field."""
    path = folder / "SKILL.md"
    head, body = _split(read_text(path, SkillError), path)
    front, faults = validate(_yaml(head, path), FrontMatter)
    if front is None:
        raise SkillError(faults[0].what, where=f"{path}: {faults[0].field}", fix=faults[0].fix)
    if front.name != folder.name:
        what = f"{front.name!r} is not the name of its folder, {folder.name!r}"
        raise SkillError(what, where=f"{path}: name", fix="give both the same name")
    recipe = front.metadata.get(f"{_PREFIX}recipe")
    if recipe and (not _FILE.fullmatch(recipe) or not (folder / recipe).is_file()):
        raise SkillError(f"there is no file {recipe[:60]!r}", where=f"{path}: metadata.{_PREFIX}recipe", fix="add it")
    return Skill(
        name=front.name,
        description=front.description,
        folder=folder,
        body=body,
        tags=_tags(front.metadata, path),
        license=front.license,
        recipe=folder / recipe if recipe else None,
    )


def _split(text: str, path: Path) -> tuple[str, str]:
    found = re.match(r"---\r?\n(?P<head>.*?\n)---\r?\n(?P<body>.*)", text, re.DOTALL)
    if found is None:
        raise SkillError("does not begin with front matter", where=str(path), fix="put it between two lines of ---")
    if len(found["head"]) > MAX_FRONT_MATTER:
        raise SkillError(f"front matter above {MAX_FRONT_MATTER:,} characters", where=str(path), fix="shorten it")
    return found["head"], found["body"]


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, a few lines of which can stand for gigabytes, and without tags, whose readers trust the text."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not used here")
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's own is not annotated
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError("tags are not used here")
        return super().compose_node(parent, index)


def _yaml(text: str, path: Path) -> Mapping[str, object]:
    try:
        table: object = yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        what = f"front matter is not valid YAML: {' '.join(str(error).split())}"
        raise SkillError(what, where=str(path), fix="mend the syntax at that place") from error
    if not isinstance(table, dict) or not all(isinstance(key, str) for key in table):
        raise SkillError("front matter is not a list of keys", where=str(path), fix="write `name: …` and so on")
    return table


def _tags(metadata: Mapping[str, str], path: Path) -> Tags:
    words: dict[str, tuple[str, ...]] = {}
    for key, value in metadata.items():
        if key.startswith(_PREFIX):
            tag = key.removeprefix(_PREFIX)
            if tag not in TAGS:
                hint = did_you_mean(tag, TAGS)
                raise SkillError(f"unknown tag{hint}", where=f"{path}: metadata.{key}", fix=f"known: {', '.join(TAGS)}")
            words[tag] = tuple(value.split())

    def pick(tag: str, known: Collection[str], *, required: bool = True) -> tuple[str, ...]:
        where = f"{path}: metadata.{_PREFIX}{tag}"
        if required and not words.get(tag):
            raise SkillError(
                "is missing", where=where, fix=f"add it; known words: {' '.join(known) or 'backend names'}"
            )
        for word in words.get(tag, ()):
            if known and word not in known:
                fix = f"one of: {' '.join(known)}"
                raise SkillError(f"{word!r} is not known here{did_you_mean(word, known)}", where=where, fix=fix)
        return words.get(tag, ())

    return Tags(
        backends=frozenset(pick("backends", ())),
        kind=Kind(pick("kind", [kind.value for kind in Kind])[0]),
        phases=frozenset(pick("phases", PHASES)),
        modalities=frozenset(pick("modalities", MODALITIES)),
        portability=Portability(pick("class", [letter.value for letter in Portability])[0]),
        needs=frozenset(pick("needs", (), required=False)),
        bottlenecks=frozenset(pick("bottlenecks", (), required=False)),
        verified=frozenset(pick("verified", (), required=False)),
    )


def _offer(
    skill: Skill, backend_tags: Collection[str], modality: str, capabilities: Collection[str], hints: Collection[str]
) -> Offer:
    tags = skill.tags
    kind_of_data = modality.split("_", maxsplit=1)[0]
    if not tags.backends & set(backend_tags):
        return Offer(skill, offered=False, rank=0, why=f"is for {', '.join(sorted(tags.backends))}")
    if not tags.modalities & {kind_of_data, "all"}:
        return Offer(skill, offered=False, rank=0, why=f"is about {', '.join(sorted(tags.modalities))}")
    if missing := tags.needs - set(capabilities):
        return Offer(skill, offered=False, rank=0, why=f"needs {', '.join(sorted(missing))}, which this device lacks")
    if matching := tags.bottlenecks & set(hints):
        return Offer(skill, offered=True, rank=1 + len(matching), why=f"answers {', '.join(sorted(matching))}")
    if tags.verified & set(backend_tags):
        return Offer(skill, offered=True, rank=1, why="fits this backend; its claims were measured on it")
    return Offer(skill, offered=True, rank=0, why="fits this backend")
