"""One run while an engine owns it: its directory, its store, its state, and the one way to say that something happened.

`emit` writes to the journal first and folds second, so what the engine believes is never ahead of what a crash would
leave behind.
"""

from __future__ import annotations

import time

from vibeserve_tui import events as ev
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state import memory
from vibeserve_tui.state.journal import Journal, read_journal
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.views import Views
from vibeserve_tui.state.workspace import Store

_VIEW_PARTS = frozenset({"rounds", "board", "memory", "trend"})


class Run:
    """Open it only while holding the run's lock."""

    def __init__(self, directory: RunDir) -> None:
        self.dir = directory
        self.state = RunState()
        self._journal = Journal(directory.journal)
        for record in read_journal(directory.journal):
            self.state.apply(record)
        self.cut_bytes = self._journal.cut_bytes
        self.store = Store(directory.store)
        self.store.remove_stale_locks()
        self._views = Views(directory)
        self._opened = time.monotonic()
        self._active_before = self.state.active_s

    @property
    def active_s(self) -> float:
        """Seconds worked on this run so far, over all engine processes; a machine that sleeps does not count."""
        return self._active_before + time.monotonic() - self._opened

    def emit(self, *events: ev.Event) -> None:
        """Record facts that belong together; they are synced when this returns."""
        stale_views = False
        for record in self._journal.append(*events):
            self.state.apply(record)
            stale_views = stale_views or not _VIEW_PARTS.isdisjoint(record.event.views)
        if stale_views:
            self._views.write(self.state)

    def note(self, heading: str, text: str) -> None:
        """Add a line to the memory file."""
        changed = memory.add_note(self.state.memory, heading, text)
        if changed != self.state.memory:
            self.emit(ev.MemoryChanged(text=changed, by="engine"))

    def take_hand_edit(self) -> None:
        """If somebody edited the memory view in place, make it the memory."""
        text = self._views.edited_memory(self.state)
        if text is not None:
            self.emit(ev.MemoryChanged(text=text, by="operator"))

    def close(self) -> None:
        self._views.write(self.state)
        self._journal.close()
