"""The linter of skills and recipes: everything that is wrong with a library, found before a run finds it.

A recipe is tried on the seed together with what it needs, as it would be in a run, on a made-up machine that has
all it asks for; no code of it is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from vibeserve_tui.errors import SkillError, WorkspaceError, did_you_mean
from vibeserve_tui.inputs.skills import SkillLibrary
from vibeserve_tui.recipes.applicability import why_not_here
from vibeserve_tui.recipes.apply import Applied, Conflict, edit
from vibeserve_tui.recipes.chain import apply_chain, closure, explain
from vibeserve_tui.recipes.expressions import Expression
from vibeserve_tui.recipes.facts import (
    DeviceFacts,
    Facts,
    HardwareFacts,
    ModelFacts,
    ProfileFacts,
    TargetFacts,
    WorkloadFacts,
)
from vibeserve_tui.recipes.recipe import SEED_CAPABILITIES, Recipe, RecipeBook
from vibeserve_tui.recipes.regions import digest
from vibeserve_tui.recipes.skill_lint import skill_faults
from vibeserve_tui.recipes.tree_record import RECORD_PATH

SPECIMEN = Facts(
    model=ModelFacts(
        architecture="llama", attention="full", layers=5, recurrent_layers=0, hidden=192, ffn=512, heads=4, kv_heads=2,
        head_dim=48, vocab=1024, max_context=2048, parameters=2_230_000, weights_mib=4.3, tied_embeddings=True,
        format="safetensors", dtype="float32", exact_in="bfloat16",
    ),
    workload=WorkloadFacts(
        kind="chat", min_concurrency=1, max_concurrency=16, max_prompt_len=199, p50_prompt_len=123, max_output_len=64,
        max_total_len=263, p99_total_len=263, shared_prefix_tokens=0, has_draft=False, schemas=0, temperature=0.0,
        ignore_eos=True, streams=True, max_tokens_per_chunk=1,
    ),
    hw=HardwareFacts(cores=4, memory_mib=16_000, llc_mib=32.0),
    device=DeviceFacts("a processor", "somebody", 16_000, 4, unified=True, capabilities=frozenset({"avx2"})),
    backend="cpu",
    profile=ProfileFacts(usable=True, observer_effect=0.02, hints=()),
    target=TargetFacts("tiny-llama-chat", "text_generation", "exact", "output_throughput", frozenset()),
    tools=frozenset({"cxx"}),
)  # fmt: skip
"""A small machine with the traffic of the default target: what recipes are tried on when no machine is meant."""


def lint(library: SkillLibrary, seed: Path | None = None) -> list[str]:
    """All faults, in the order of the library; [] = fit to ship. With a seed, every recipe is tried on it."""
    faults = [fault for skill in library.values() for fault in skill_faults(skill, library)]
    try:
        book = RecipeBook.load(library)
        book.in_order(book)
    except SkillError as error:
        return [*faults, str(error)]
    for recipe in book.values():
        found = list(_relation_faults(recipe, book))
        faults += [f"{recipe.folder}: {fault}" for fault in (found or list(_trial_faults(recipe, book, seed)))]
    return faults


def _relation_faults(recipe: Recipe, book: RecipeBook) -> Iterator[str]:
    known = SEED_CAPABILITIES.union(*(other.provides for other in book.values()))
    for what, names in _capabilities_named_by(recipe):
        for name in sorted(names - known):
            yield f"{what} {name!r}, which nothing provides{did_you_mean(name, known)}"
    if recipe.needs & recipe.conflicts:
        yield f"needs and conflicts with {min(recipe.needs & recipe.conflicts)!r}"
    if recipe.spec.capabilities.conflicts and not recipe.provides:
        yield "conflicts with something but provides nothing, so the other side cannot see it"
    for other in book.values():
        both = recipe.provides & other.provides
        rivals = recipe.conflicts & other.provides or other.conflicts & recipe.provides
        if both and not rivals and other.id > recipe.id:
            yield f"provides {min(both)!r} like {other.id}, and neither declares a conflict"


def _capabilities_named_by(recipe: Recipe) -> Iterator[tuple[str, frozenset[str]]]:
    yield "needs", recipe.needs
    yield "conflicts with", frozenset(recipe.spec.capabilities.conflicts)
    yield "supersedes", recipe.supersedes
    expressions: list[Expression] = [op.when for op in recipe.spec.apply if op.when is not None]
    expressions += recipe.spec.requires.conditions()
    yield "asks about", frozenset().union(*(expression.asked("provides") for expression in expressions))


def _trial_faults(recipe: Recipe, book: RecipeBook, seed: Path | None) -> Iterator[str]:
    if (reason := why_not_here(recipe, SPECIMEN)) and reason.startswith("is faulty"):
        yield reason
        return
    yield from _golden_faults(recipe)
    if seed is None:
        return
    with TemporaryDirectory(prefix="vibeserve-lint-") as folder:
        below = closure(book, [recipe.id]) - {recipe.id}
        tree = Path(folder, "tree")
        try:
            apply_chain(book, {name: {} for name in below}, seed, tree, SPECIMEN)
            yield from _edit_faults(recipe, tree)
        except (SkillError, WorkspaceError) as error:
            yield f"cannot be tried on the seed: {error}"


def _edit_faults(recipe: Recipe, tree: Path) -> Iterator[str]:
    result = edit(recipe, {}, tree, SPECIMEN)
    if isinstance(result, Conflict):
        for part in result.parts:
            yield f"expects another text in {part.part}; what is there has the digest {digest(part.ours)}"
    elif not isinstance(result, Applied):
        yield f"does not go onto the seed and what it needs: {explain(result)}"
    elif result.merged:
        yield f"has to be merged into {', '.join(result.merged)}: update what it expects"


def _golden_faults(recipe: Recipe) -> Iterator[str]:
    """tests/before and tests/after, where a recipe has them: applying it to the one gives the other."""
    before, after = recipe.folder / "tests" / "before", recipe.folder / "tests" / "after"
    if before.is_dir() is not after.is_dir():
        yield "has only one of tests/before and tests/after"
    if not (before.is_dir() and after.is_dir()):
        return
    result = edit(recipe, {}, before, SPECIMEN)
    if not isinstance(result, Applied):
        yield f"does not go onto tests/before: {explain(result)}"
        return
    expected, found = _texts(after), _texts(before)
    for change in result.changes:
        found.pop(change.path, None)
        if change.after is not None:
            found[change.path] = change.after
    differing = sorted(name for name in {*found, *expected} - {RECORD_PATH} if found.get(name) != expected.get(name))
    if differing:
        yield f"gives another tree than tests/after: {', '.join(differing)}"


def _texts(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8", errors="replace") for path in files}
