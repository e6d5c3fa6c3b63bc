"""Where each pane of the run screen stands at a given size: one pure function, tested at every breakpoint.

Below 100 columns one pane shows at a time; up to 159 rounds and board stand left, tabs right, agents below; from 160
on there are three columns. Which pane is active survives any change of size, because it is an argument, not a state
of this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from textual.geometry import Region, Size

SMALLEST = Size(60, 16)
HEADER_ROWS, FOOTER_ROWS, TAB_ROWS = 2, 1, 1
NARROW_BELOW, WIDE_FROM = 100, 160
MID_ROWS, WIDE_ROWS = 24, 36
"""Rows below which a layout would leave some pane without a line."""
TICKER_FROM_ROWS, TICKER_ROWS = 24, 6
NO_TICKER = ("agents", "live")
"""The ticker would repeat the one, and leave the other's chart no rows."""
MID_RIGHT = 54
"""Columns of the right half at 120; the chart needs no more, the rounds gain from the rest."""

FIGURES_ROWS = 11
"""Five metrics with their head, the state of the gate in two lines, and the border."""

PANES = ("rounds", "live", "diff", "board", "memory", "agents", "logs", "trend", "hotspots")
"""In the order of their digits, 1 to 9."""
TABS_MID = ("live", "diff", "memory", "logs", "trend", "hotspots")
TABS_WIDE = ("diff", "logs", "hotspots")


@dataclass(frozen=True, slots=True)
class Layout:
    """Regions by pane id; `figures` (A beside B) stands under `live` wherever there is room."""

    regions: dict[str, Region] = field(default_factory=dict)
    tabs: tuple[str, ...] = ()
    tab_region: Region | None = None
    compact: bool = False


def arrange(size: Size, active: str, tab: str, *, zoomed: bool, rounds: int) -> Layout:
    """`active` is the pane in use, `tab` the pane last chosen from the shared slot, `rounds` the lines it may need."""
    body = Region(0, HEADER_ROWS, size.width, max(0, size.height - HEADER_ROWS - FOOTER_ROWS))
    if size.width < SMALLEST.width or size.height < SMALLEST.height:
        return Layout()
    if zoomed:
        return Layout(_with_figures(active, body))
    if size.width < NARROW_BELOW or size.height < MID_ROWS:
        return _narrow(body, active)
    if size.width < WIDE_FROM or size.height < WIDE_ROWS:
        return _mid(body, tab if tab in TABS_MID else "live", rounds)
    return _wide(body, tab if tab in TABS_WIDE else "diff", rounds)


def _narrow(body: Region, active: str) -> Layout:
    tabs, rest = body.split_horizontal(TAB_ROWS)
    regions: dict[str, Region] = {}
    if active not in NO_TICKER and rest.height >= TICKER_FROM_ROWS - HEADER_ROWS - FOOTER_ROWS - TAB_ROWS:
        rest, regions["agents"] = rest.split_horizontal(rest.height - TICKER_ROWS)
    return Layout(_with_figures(active, rest) | regions, PANES, tabs, compact=True)


def _mid(body: Region, tab: str, rounds: int) -> Layout:
    agents = max(5, round(body.height * 0.3))
    upper, feed = body.split_horizontal(body.height - agents)
    left, right = upper.split_vertical(upper.width - MID_RIGHT - max(0, upper.width - 120) // 3)
    top = min(max(left.height // 2, rounds + 3), left.height - max(5, left.height // 3))
    table, board = left.split_horizontal(top)
    tabs, slot = right.split_horizontal(TAB_ROWS)
    regions = {"rounds": table, "board": board, "agents": feed} | _with_figures(tab, slot)
    return Layout(regions, TABS_MID, tabs)


def _wide(body: Region, tab: str, rounds: int) -> Layout:
    left, rest = body.split_vertical(round(body.width * 0.44))
    middle, right = rest.split_vertical(min(64, round(rest.width * 0.54)))
    first = min(max(18, rounds + 3), body.height // 2)
    second = max(8, min(16, (body.height - first) // 2))
    table, below = left.split_horizontal(first)
    board, memory = below.split_horizontal(second)
    live, below = middle.split_horizontal(min(first, 19))
    figures, trend = below.split_horizontal(first + second - live.height)
    change, feed = right.split_horizontal(first + second)
    return Layout({
        "rounds": table, "board": board, "memory": memory, "live": live, "figures": figures, "trend": trend, tab: change,
        "agents": feed,
    })  # fmt: skip


def _with_figures(pane: str, region: Region) -> dict[str, Region]:
    """The live chart shares its place with the table of figures: figures say more, so they get their rows first."""
    if pane != "live" or region.height < 12:
        return {pane: region}
    chart = max(7, min(18, region.height - FIGURES_ROWS))
    upper, lower = region.split_horizontal(chart)
    return {"live": upper, "figures": lower}
