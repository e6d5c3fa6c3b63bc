from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Region, Size

from vibeserve_tui.tui.layout import PANES, SMALLEST, arrange

SIZES = st.builds(Size, st.integers(SMALLEST.width, 260), st.integers(SMALLEST.height, 90))


@given(SIZES, st.sampled_from(PANES), st.sampled_from(PANES), st.booleans(), st.integers(0, 60))
def test_panes_never_overlap_nor_leave_the_body(size: Size, active: str, tab: str, zoomed: bool, rounds: int) -> None:
    layout = arrange(size, active, tab, zoomed=zoomed, rounds=rounds)
    body = Region(0, 2, size.width, size.height - 3)
    regions = [*layout.regions.values(), *([layout.tab_region] if layout.tab_region else [])]
    assert regions
    for region in regions:
        assert region in body
        assert region.height >= 1
    for one, other in combinations(regions, 2):
        assert not one.overlaps(other)


@given(SIZES, st.sampled_from(PANES))
def test_the_active_pane_can_be_reached_at_every_size(size: Size, active: str) -> None:
    layout = arrange(size, active, active, zoomed=False, rounds=13)
    assert active in layout.regions
    assert layout.regions[active].height >= 4


@pytest.mark.parametrize(
    ("size", "panes"),
    [
        ((80, 24), {"rounds", "agents"}),
        ((120, 40), {"rounds", "board", "live", "figures", "agents"}),
        ((200, 60), {"rounds", "board", "memory", "live", "figures", "trend", "diff", "agents"}),
    ],
)
def test_the_three_sizes_show_what_they_are_made_for(size: tuple[int, int], panes: set[str]) -> None:
    assert set(arrange(Size(*size), "rounds", "live", zoomed=False, rounds=13).regions) == panes


def test_below_the_smallest_size_nothing_is_placed() -> None:
    assert arrange(Size(59, 40), "rounds", "live", zoomed=False, rounds=13).regions == {}
