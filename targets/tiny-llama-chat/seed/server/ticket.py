"""A submitted request, as the engine and whoever submitted it share it."""

from collections.abc import Callable
from dataclasses import dataclass

from server.protocol import GenerationRequest

Sink = Callable[[list[int], str | None], None]
"""sink(ids, finish): new ids, and how the answer ended: stop, length, error, or None while it goes on."""


@dataclass
class Ticket:
    request: GenerationRequest
    sink: Sink
    cancelled: bool = False
    """Set by the submitter at any time; the engine then drops the request at its next step."""
