"""What requests took on two sides, as the share of them below each time; both sides on one axis."""

from __future__ import annotations

from collections.abc import Mapping

from textual.events import Resize

from vibeserve_tui.request_times import QUANTITIES, Quantity, RequestTimes
from vibeserve_tui.tui.content import content
from vibeserve_tui.tui.ink import Ink, Line, line
from vibeserve_tui.tui.widgets.chart import Shares, share_chart
from vibeserve_tui.tui.widgets.line_view import LineView

NAMES: Mapping[Quantity, str] = {"ttft_ms": "TTFT", "tpot_ms": "TPOT"}
UNIT = "ms"
BOTH_FROM = 20
"""Rows from which both quantities have a chart that can be read."""
NOTHING = "No times of single requests: one of the two was never measured."


def known_quantities(times: RequestTimes) -> tuple[Quantity, ...]:
    """What both sides have values of."""
    return tuple(name for name in QUANTITIES if times.a.get(name) and times.b.get(name))


class ShareView(LineView, can_focus=False):
    """Draws itself again whenever its size is settled."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes="box")
        self._times = RequestTimes()
        self._quantity: Quantity = QUANTITIES[0]

    def show(self, times: RequestTimes, quantity: Quantity | None = None) -> None:
        """One quantity, the wanted one if both sides have it; all of them where there is room for one below the other."""
        known = known_quantities(times)
        wanted = quantity or self._quantity
        self._times, self._quantity = times, wanted if wanted in known or not known else known[0]
        shown = known if self.size.height >= BOTH_FROM else tuple(name for name in known if name == self._quantity)
        names = " and ".join(NAMES[name] for name in shown or (self._quantity,))
        self.border_title = content(f"{names}, share of requests below", self)
        foot = "A dotted · B solid" + (" · t next" if len(shown) < len(known) else "")
        self.border_subtitle = content(foot if known else "", self)
        self.set_lines(self._charts(shown) if known else [line((NOTHING, Ink.MUTED))])

    def _charts(self, shown: tuple[Quantity, ...]) -> list[Line]:
        lines: list[Line] = []
        for name in shown:
            a, b = self._times.a[name], self._times.b[name]
            sides = [Shares("A", a, Ink.PLAIN, dotted=True), Shares("B", b, Ink.ACCENT)]
            unit = UNIT if len(shown) == 1 else f"{UNIT} {NAMES[name]}"
            lines += share_chart(sides, unit, self.text_width, self.size.height // len(shown))
        return lines

    def on_resize(self, event: Resize) -> None:
        super().on_resize(event)
        self.show(self._times)
