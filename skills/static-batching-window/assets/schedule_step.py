    def _answer(self, sequences: list[Sequence]) -> None:
        """The whole batch, until its longest answer is complete; nobody joins on the way."""
        while waiting := [sequence for sequence in sequences if not sequence.prefilled]:
            self._prefill.step(waiting)
        while running := [sequence for sequence in sequences if not sequence.done]:
            self._decode.step(running)
            counters.add("window_batch_steps", len(running) > 1)

