    def _run(self) -> None:
        while batch := self._gather():
            sequences = [self._slots.acquire(ticket) for ticket in batch]
            try:
                self._answer(sequences)
            except Exception:  # a failing batch must not take the server down
                traceback.print_exc()
                for sequence in sequences:
                    if not sequence.done:
                        sequence.end("error")
            for sequence in sequences:
                self._slots.release(sequence)

    def _gather(self) -> list[Ticket]:
        """One waiting request and all that follow within the window; empty after stop()."""
        batch: list[Ticket] = []
        deadline = None
        while len(batch) < self._max_batch:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                ticket = self._waiting.get(timeout=left)
            except queue.Empty:
                break
            if ticket is None:
                return []
            if not ticket.cancelled:
                batch.append(ticket)
                deadline = deadline or time.monotonic() + self._window_s
        return batch

