"""The engine: one thread that owns the model and works off a queue of requests.

It delivers ids to each request's sink, from its own thread, and knows nothing about text or HTTP.
"""

import os
import queue
import threading
import traceback
from typing import TYPE_CHECKING

from server.config import Config
from server.protocol import GenerationRequest
from server.ticket import Sink, Ticket

if TYPE_CHECKING:
    from server.model import Model

# region: schedule.imports
from server import counters

# endregion: schedule.imports


class Engine:
    def __init__(self, model: "Model", config: Config) -> None:
        self.model = model
        self.dtype = model.dtype
        self.max_len = config.integer("max_len")
        # region: schedule.state
        self._waiting: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        # endregion: schedule.state
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._waiting.put(None)

    def submit(self, request: GenerationRequest, sink: Sink) -> Ticket:
        ticket = Ticket(request, sink)
        self._waiting.put(ticket)
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        ticket.cancelled = True

    def _work(self) -> None:
        try:
            self._run()
        except BaseException:
            # Without this thread the server would take requests and never answer them.
            traceback.print_exc()
            os._exit(70)

    # region: schedule.admit
    def _run(self) -> None:
        while (ticket := self._waiting.get()) is not None:
            if ticket.cancelled:
                continue
            try:
                self._answer(ticket)
            except Exception:  # one request's failure must not take the server down
                traceback.print_exc()
                ticket.sink([], "error")

    # endregion: schedule.admit

    # region: schedule.step
    def _answer(self, ticket: Ticket) -> None:
        request = ticket.request
        generated = 0

        def deliver(token: int) -> bool:
            """Called for every new token; False ends the generation."""
            nonlocal generated
            if ticket.cancelled:
                return False
            if token == self.model.eos and not request.ignore_eos:
                ticket.sink([], "stop")
                return False
            generated += 1
            counters.add("tokens")
            done = generated >= request.max_tokens
            ticket.sink([token], "length" if done else None)
            return not done

        self.model.generate(request, deliver)

    # endregion: schedule.step
