"""A recipe: the machine-applicable part of a skill, and the relations between recipes.

`Recipe` joins what recipe.toml says with the folder that holds its assets; `RecipeBook` knows who needs, provides and
excludes what. Nothing here touches a candidate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vibeserve_tui.errors import SkillError
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.inputs.toml_files import TomlFile, read_text
from vibeserve_tui.recipes.recipe_spec import AddFile, RecipeSpec, ReplaceRegion

SEED_CAPABILITIES = frozenset({"engine.loop", "engine.kv.dynamic", "http.sse"})
"""What a seed provides unless its own `.vibeserve/capabilities.json` says otherwise."""
MAX_ASSET_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe and the skill folder that holds its assets."""

    spec: RecipeSpec
    folder: Path
    named_by_others: frozenset[str] = frozenset()
    """Its own capabilities' rivals that only the other side declares: a conflict holds both ways."""

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def needs(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.needs)

    @property
    def provides(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.provides)

    @property
    def conflicts(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.conflicts) | self.named_by_others

    @property
    def supersedes(self) -> frozenset[str]:
        return frozenset(self.spec.capabilities.supersedes)

    @property
    def prefers_after(self) -> frozenset[str]:
        """Capabilities that its operations ask about: where both are wanted, their providers come first."""
        return frozenset().union(*(op.when.asked("provides") for op in self.spec.apply if op.when is not None))

    def asset(self, name: str) -> str:
        return read_text(self.folder / name, SkillError, max_bytes=MAX_ASSET_BYTES)

    def after(self, capabilities: frozenset[str]) -> frozenset[str]:
        """What the tree provides once this recipe is applied to it."""
        return (capabilities - self.supersedes) | self.provides

    def clashes_with(self, other: Recipe) -> bool:
        """Whether the two can never stand in one tree together."""
        return bool(
            self.conflicts & other.provides or other.conflicts & self.provides or self.provides & other.provides
        )


def load_recipe(path: Path) -> Recipe:
    """Read one recipe.toml. Raises SkillError with file and field, also when an asset is missing."""
    file = TomlFile.read(path, SkillError)
    spec = file.parse(RecipeSpec)
    folder = path.parent
    if spec.id != folder.name:
        what = f"{spec.id!r} is not the name of its folder, {folder.name!r}"
        raise SkillError(what, where=f"{path}: id", fix="give both the same name")
    for field, name in _files_named_by(spec):
        if not (folder / name).is_file():
            raise SkillError(f"there is no file {name!r}", where=f"{path}: {field}", fix="add it to the skill's folder")
    return Recipe(spec, folder)


def _files_named_by(spec: RecipeSpec) -> Iterator[tuple[str, str]]:
    for index, operation in enumerate(spec.apply):
        if isinstance(operation, ReplaceRegion | AddFile):
            yield f"apply[{index}].asset", operation.asset
        if isinstance(operation, ReplaceRegion) and operation.base is not None:
            yield f"apply[{index}].base", operation.base
    if spec.verify.probe is not None:
        yield "verify.probe", spec.verify.probe


class RecipeBook(Mapping[str, Recipe]):
    """All recipes by id, in a fixed order, and the relations between them."""

    def __init__(self, recipes: Iterable[Recipe]) -> None:
        declared = {recipe.id: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.id)}
        self._recipes = {name: _with_all_conflicts(recipe, declared.values()) for name, recipe in declared.items()}

    @classmethod
    def load(cls, library: SkillLibrary) -> RecipeBook:
        """The recipes of all skills that have one."""
        return cls(load_recipe(skill.recipe) for skill in library.values() if skill.recipe is not None)

    def __getitem__(self, name: str) -> Recipe:
        return self._recipes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._recipes)

    def __len__(self) -> int:
        return len(self._recipes)

    def providers(self, capability: str) -> tuple[Recipe, ...]:
        return tuple(recipe for recipe in self.values() if capability in recipe.provides)

    def in_order(self, names: Iterable[str]) -> tuple[Recipe, ...]:
        """The recipes so that each comes after those it builds on. Raises SkillError when two need each other."""
        waiting = {name: self._recipes[name] for name in sorted(set(names))}
        ordered: list[Recipe] = []
        while waiting:
            ready = [name for name in waiting if not any(_before(other, waiting[name]) for other in waiting.values())]
            if not ready:  # a wish may be circular ("each adapts to the other"), a need may not
                ready = [name for name in waiting if not any(_must(other, waiting[name]) for other in waiting.values())]
            if not ready:
                raise SkillError(
                    f"these recipes need each other: {', '.join(waiting)}", fix="break the circle of needs"
                )
            ordered.append(waiting.pop(ready[0]))
        return tuple(ordered)


def _with_all_conflicts(recipe: Recipe, all_recipes: Collection[Recipe]) -> Recipe:
    """The recipe, also in conflict with what marks those that declare a conflict with it."""
    marks: set[str] = set()
    for other in all_recipes:
        if other.conflicts & recipe.provides:
            shared = frozenset().union(*(third.provides for third in all_recipes if third is not other))
            marks |= other.provides - shared - recipe.supersedes  # what it supersedes, it may replace
    return replace(recipe, named_by_others=frozenset(marks))


def _must(first: Recipe, then: Recipe) -> bool:
    """Whether `first` has to be in the tree before `then`: it provides a need, or `then` takes away what it needs."""
    held = (first.provides | first.needs) & then.supersedes
    return first is not then and bool(first.provides & then.needs or held)


def _before(first: Recipe, then: Recipe) -> bool:
    return _must(first, then) or (first is not then and bool(first.provides & then.prefers_after))
