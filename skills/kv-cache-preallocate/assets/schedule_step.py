    def _answer(self, ticket: Ticket) -> None:
        sequence = self._slots.acquire(ticket)
        try:
            while not sequence.prefilled:
                self._prefill.step([sequence])
            while not sequence.done:
                self._decode.step([sequence])
        finally:
            self._slots.release(sequence)

