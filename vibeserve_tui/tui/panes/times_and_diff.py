"""Beside one another: what requests took on two sides, and the change between them; one of both where it is narrow."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.events import Resize

from vibeserve_tui.request_times import RequestTimes
from vibeserve_tui.tui.panes.diff import DiffPane
from vibeserve_tui.tui.view import RunView
from vibeserve_tui.tui.widgets.share_view import ShareView, known_quantities

WIDE_FROM = 100


class TimesAndDiff(Horizontal):
    """A key goes from one quantity to the next; where there is no room for two, the change comes first."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._times = RequestTimes()
        self._at = 0

    def compose(self) -> ComposeResult:
        yield ShareView(id="shares")
        yield DiffPane(id="diff")

    def on_mount(self) -> None:
        diff = self.query_one(DiffPane)
        diff.view = RunView(compact=True)
        diff.focus()

    def on_resize(self, event: Resize) -> None:
        del event
        self._place()

    def show(self, times: RequestTimes) -> None:
        self._times = times
        self._place()

    def next_chart(self) -> None:
        self._at += 1
        self._place()

    def _place(self) -> None:
        narrow = self.size.width < WIDE_FROM
        places = (*([None] if narrow else []), *known_quantities(self._times))
        quantity = places[self._at % len(places)] if places else None
        diff, shares = self.query_one(DiffPane), self.query_one(ShareView)
        diff.display = quantity is None or not narrow
        shares.display = quantity is not None or not narrow
        shares.show(self._times, quantity)
        if diff.display:
            diff.focus()
