"""Commands on their way to the engine: sent as inbox files, answered by the journal, told to the operator."""

from __future__ import annotations

from typing import Protocol

from vibeserve_tui.client import RunClient
from vibeserve_tui.commands import Command
from vibeserve_tui.errors import VibeServeError


class Tell(Protocol):
    """Shows one line; `bad` marks bad news."""

    def __call__(self, words: str, *, bad: bool) -> None: ...


class Outbox:
    def __init__(self, client: RunClient, tell: Tell) -> None:
        self._client, self._tell = client, tell
        self._waiting: dict[str, str] = {}

    def send(self, command: Command, words: str) -> None:
        """Send it and say so; `words` names the command in the answer."""
        try:
            self._waiting[self._client.send(command)] = words
        except (VibeServeError, OSError) as error:
            self._tell(str(error), bad=True)
            return
        self._tell(f"sent: {words}", bad=False)

    def settle(self) -> None:
        """Report the refusals that the journal has brought since; an acceptance shows in the run itself."""
        answered = self._client.state.answered
        for command in [command for command in self._waiting if command in answered]:
            words = self._waiting.pop(command)
            if answered[command] != "accepted":
                self._tell(f"{words}: refused, {answered[command]}", bad=True)

    @property
    def waiting(self) -> int:
        return len(self._waiting)
