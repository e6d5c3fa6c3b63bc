"""One run while an engine owns it: its directory, its store, its state, and the one way to say that something happened.

`emit` writes to the journal first and folds second, so what the engine believes is never ahead of what a crash would
leave behind.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from vibeserve_tui import events as ev
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state import memory
from vibeserve_tui.state.journal import Journal
from vibeserve_tui.state.place import give_up_reserve, require_same_folder
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.views import Views
from vibeserve_tui.state.workspace import Store

_VIEW_PARTS = frozenset({"rounds", "board", "memory", "trend"})


class Run:
    """Open it only while holding the run's lock, whose descriptor git's processes keep while they write."""

    def __init__(self, directory: RunDir, lock: int | None = None) -> None:
        self.dir = directory
        directory.create()  # views may have been deleted with their folder
        self.state = RunState()
        self._journal = Journal(directory.journal)
        for record in self._journal.recovered:
            self.state.apply(record)
        self._journal.recovered.clear()
        self.cut_bytes = self._journal.cut_bytes
        self.store = Store(directory.store, lock=lock)
        self.store.remove_stale_locks()
        directory.settle()
        self._views = Views(directory)
        self._folder = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._opened = time.monotonic()
        self.opened_wall = time.time()
        """When this engine process took the run over."""
        self._active_before = self.state.active_s
        self._rests_since: float | None = None

    @property
    def active_s(self) -> float:
        """Seconds worked on this run so far, over all engine processes; a machine that sleeps does not count."""
        return self._active_before + (self._rests_since or time.monotonic()) - self._opened

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """While it waits for a person it is not worked on: who thinks for an hour loses none of the run's minutes."""
        self._rests_since = time.monotonic()
        try:
            yield
        finally:
            self._opened += time.monotonic() - self._rests_since
            self._rests_since = None

    def emit(self, *events: ev.Event) -> None:
        """Record facts that belong together; they are synced when this returns."""
        stale_views = False
        for record in self._journal.append(*events):
            self.state.apply(record)
            stale_views = stale_views or not _VIEW_PARTS.isdisjoint(record.event.views)
        if stale_views:
            self._views.write(self.state)

    def require_same_folder(self) -> None:
        """Raise StateDamaged when the directory was moved away under a running engine."""
        require_same_folder(self.dir, self._folder)

    def pause(self, reason: str, *, by: str = "engine") -> None:
        """Record that work stops here, if it can still be recorded: the journal is sound without it."""
        if self.state.is_over or self.state.plan is None:
            return  # one that has not begun begins anew
        give_up_reserve(self.dir)
        with contextlib.suppress(VibeServeError, OSError):
            self.emit(ev.RunPausedEvent(reason=reason, by=by))

    def note(self, heading: str, text: str) -> None:
        """Add a line to the memory file."""
        if lesson := self.noted(heading, text):
            self.emit(*lesson)

    def noted(self, heading: str, text: str) -> list[ev.Event]:
        """The event that adds a line to the memory file, below whatever a person wrote into it meanwhile."""
        self.take_hand_edit()
        changed = memory.add_note(self.state.memory, heading, text)
        return [ev.MemoryChanged(text=changed, by="engine")] if changed != self.state.memory else []

    def take_hand_edit(self) -> None:
        """If somebody edited the memory view in place, make it the memory."""
        text = self._views.edited_memory(self.state)
        if text is not None:
            self.emit(ev.MemoryChanged(text=text, by="operator"))

    def write_views(self) -> None:
        """Bring them up to date with what is recorded; a crash may have come in between."""
        self._views.write(self.state)

    def close(self) -> None:
        """Views that cannot be written are rebuilt by whoever opens the run next."""
        with contextlib.suppress(OSError):
            self._views.write(self.state)
        self._journal.close()
        os.close(self._folder)
