from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.recipes.regions import digest, regions, replaced

LINES = st.lists(st.text(st.characters(blacklist_characters="\n\r#/", blacklist_categories=["Cs"])), max_size=5)


@given(LINES, LINES, LINES)
def test_putting_a_regions_own_text_back_changes_nothing(before: list[str], body: list[str], after: list[str]) -> None:
    text = "\n".join([*before, "# region: kv", *body, "# endregion: kv", *after])
    region = regions(text)["kv"]
    assert region.text == "".join(f"{line}\n" for line in body)
    assert replaced(text, region, region.text) == text


@given(LINES, LINES)
def test_only_the_text_between_the_markers_changes(body: list[str], new: list[str]) -> None:
    text = "\n".join(["a", "  // region: x.y", *body, "  // endregion: x.y", "z\n"])
    there = "".join(f"{line}\n" for line in new)
    changed = replaced(text, regions(text)["x.y"], there)
    assert regions(changed)["x.y"].text == there
    assert changed.startswith("a\n  // region: x.y\n")
    assert changed.endswith("  // endregion: x.y\nz\n")


def test_a_region_may_be_empty_and_may_become_so() -> None:
    text = "# region: a\n# endregion: a\n# region: b\nx\n# endregion: b\n"
    found = regions(text)
    assert found["a"].text == ""
    assert replaced(text, found["b"], "") == "# region: a\n# endregion: a\n# region: b\n# endregion: b\n"
    assert replaced(text, found["a"], "y") == text.replace("# region: a\n", "# region: a\ny\n")


def test_a_broken_marker_is_named_with_its_line() -> None:
    with pytest.raises(WorkspaceError, match="line 2: region 'b' begins inside another"):
        regions("# region: a\n# region: b\n")


def test_the_digest_is_the_one_recipes_write() -> None:
    assert digest("x\n") == "sha256:73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"
