from __future__ import annotations

from pathlib import Path

import pytest

from vibeserve_tui.errors import SkillError
from vibeserve_tui.inputs.skills import Kind, Portability, SkillLibrary, load_skill

FRONT = """\
name: {name}
description: Reuse shared prefixes. Use when many prompts begin alike.
license: Apache-2.0
metadata:
  vibe-backends: "cpu cuda"
  vibe-kind: "technique"
  vibe-phases: "prefill schedule"
  vibe-modalities: "text"
  vibe-needs: "avx2"
  vibe-bottlenecks: "prefill_bound"
  vibe-class: "A"
  vibe-verified: "cpu"
"""


def write_skill(root: Path, name: str = "prefix-cache", front: str = FRONT, body: str = "# Prefix cache\n") -> Path:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "SKILL.md").write_text(f"---\n{front.format(name=name)}---\n{body}", encoding="utf-8")
    return folder


def test_a_skill_is_read_with_its_tags(tmp_path: Path) -> None:
    skill = load_skill(write_skill(tmp_path))
    assert skill.name == "prefix-cache"
    assert skill.body == "# Prefix cache\n"
    assert (skill.tags.kind, skill.tags.portability) == (Kind.TECHNIQUE, Portability.PORTABLE)
    assert skill.tags.backends == {"cpu", "cuda"}
    assert skill.recipe is None


def test_a_named_recipe_must_exist(tmp_path: Path) -> None:
    folder = write_skill(tmp_path, front=FRONT + '  vibe-recipe: "recipe.toml"\n')
    with pytest.raises(SkillError, match="there is no file"):
        load_skill(folder)
    (folder / "recipe.toml").touch()
    assert load_skill(folder).recipe == folder / "recipe.toml"


@pytest.mark.parametrize(
    ("old", "new", "where", "says"),
    [
        ("name: {name}", "name: other", "name", "not the name of its folder"),
        ("name: {name}", "name: Prefix_Cache", "name", "should match"),
        ("license:", "licence:", "licence", "did you mean 'license'"),
        ("description: Reuse", "description: " + "x" * 1025, "description", "at most 1024"),
        ("vibe-kind:", "vibe-kidn:", "metadata.vibe-kidn", "did you mean 'kind'"),
        ('"technique"', '"techniqe"', "metadata.vibe-kind", "did you mean 'technique'"),
        ('"prefill schedule"', '"prefil"', "metadata.vibe-phases", "did you mean 'prefill'"),
        ('vibe-class: "A"', 'vibe-class: "D"', "metadata.vibe-class", "one of: A B C"),
        ('vibe-class: "A"', 'vibe-class: ""', "metadata.vibe-class", "is missing"),
        ('vibe-needs: "avx2"', "vibe-needs: [avx2]", "metadata.vibe-needs", "valid string"),
        ('vibe-needs: "avx2"', "vibe-needs: 3", "metadata.vibe-needs", "valid string"),
        ("license: Apache-2.0", "license: &a Apache\ncompatibility: *a", "", "aliases are not used"),
        ("license: Apache-2.0", "license: [", "", "not valid YAML"),
        ("license: Apache-2.0", "license: 2020-01-01", "license", "dates"),
        ("license: Apache-2.0", "license: !!python/object:os.system x", "", "not valid YAML"),
    ],
)
def test_a_fault_is_named_with_file_and_field(tmp_path: Path, old: str, new: str, where: str, says: str) -> None:
    assert old in FRONT
    folder = write_skill(tmp_path, front=FRONT.replace(old, new, 1))
    with pytest.raises(SkillError) as caught:
        load_skill(folder)
    assert str(folder / "SKILL.md") in caught.value.where
    assert caught.value.where.endswith(where)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["", "# no front matter\n", "---\nname: x\n", "---\n- a\n---\n", "---\n---\n"])
def test_a_file_without_front_matter_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_skill(tmp_path)
    (folder / "SKILL.md").write_text(text)
    with pytest.raises(SkillError, match="front matter"):
        load_skill(folder)


def test_nested_yaml_does_not_exhaust_the_stack(tmp_path: Path) -> None:
    folder = write_skill(tmp_path, front="name: " + "[" * 8000 + "\n")
    with pytest.raises(SkillError):
        load_skill(folder)


def test_the_library_passes_over_hidden_folders_and_loose_files(tmp_path: Path) -> None:
    write_skill(tmp_path)
    (tmp_path / ".git").mkdir()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "README.md").touch()
    assert list(SkillLibrary.load([tmp_path])) == ["prefix-cache"]


def test_a_users_skill_replaces_the_shipped_one_and_says_so(tmp_path: Path) -> None:
    shipped, own = write_skill(tmp_path / "shipped"), write_skill(tmp_path / "own", body="mine\n")
    skill = SkillLibrary.load([tmp_path / "shipped", tmp_path / "own"])["prefix-cache"]
    assert (skill.folder, skill.shadows, skill.body) == (own, shipped, "mine\n")


def test_an_unknown_name_gets_a_suggestion(tmp_path: Path) -> None:
    write_skill(tmp_path)
    library = SkillLibrary.load([tmp_path])
    with pytest.raises(SkillError, match="did you mean 'prefix-cache'"):
        library.find("prefix-cach")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="no such folder"):
        SkillLibrary.load([tmp_path / "absent"])


@pytest.mark.parametrize(
    ("tags", "modality", "capabilities", "why"),
    [
        ({"cpu"}, "text_generation", {"avx2"}, "its claims were measured on it"),
        ({"cuda"}, "text_generation", {"avx2"}, "fits this backend"),
        ({"metal"}, "text_generation", {"avx2"}, "is for cpu, cuda"),
        ({"cpu"}, "speech_to_text", {"avx2"}, "is about text"),
        ({"cpu"}, "text_generation", {"neon"}, "needs avx2"),
    ],
)
def test_a_skill_says_why_it_is_offered_or_not(
    tmp_path: Path, tags: set[str], modality: str, capabilities: set[str], why: str
) -> None:
    write_skill(tmp_path)
    (offer,) = SkillLibrary.load([tmp_path]).for_backend(tags, modality, capabilities)
    assert why in offer.why
    assert offer.offered is ("fits" in offer.why)


def test_a_profilers_hint_raises_the_rank(tmp_path: Path) -> None:
    write_skill(tmp_path, "a-first", front=FRONT.replace("prefill_bound", "other"))
    write_skill(tmp_path, "z-last")
    write_skill(tmp_path, "b-out", front=FRONT.replace("cpu cuda", "metal"))
    library = SkillLibrary.load([tmp_path])
    offers = library.for_backend({"cpu"}, "text_generation", {"avx2"}, hints=["prefill_bound"])
    assert [offer.skill.name for offer in offers] == ["z-last", "a-first", "b-out"]
    assert offers[0].why == "answers prefill_bound"
