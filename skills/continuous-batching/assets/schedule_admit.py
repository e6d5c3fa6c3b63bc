    def _run(self) -> None:
        running: list[Sequence] = []
        while self._admit(running):
            try:
                self._step(running)
            except Exception:  # a failing step must not take the server down
                traceback.print_exc()
                for sequence in running:
                    if not sequence.done:
                        sequence.end("error")
            for sequence in running:
                if sequence.done:
                    self._slots.release(sequence)
            running = [sequence for sequence in running if not sequence.done]

    def _admit(self, running: list[Sequence]) -> bool:
        """Let waiting requests join between two steps; sleep only while nothing runs. False after stop()."""
        while len(running) < self._max_batch:
            try:
                ticket = self._waiting.get(block=not running)
            except queue.Empty:
                break
            if ticket is None:
                return False
            if not ticket.cancelled:
                running.append(self._slots.acquire(ticket))
        return True

