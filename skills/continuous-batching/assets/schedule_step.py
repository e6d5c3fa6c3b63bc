    def _step(self, running: list[Sequence]) -> None:
        """New sequences first, in order of arrival, so that they decode together with the others from now on."""
        waiting = [sequence for sequence in running if not sequence.prefilled]
        if waiting:
            self._prefill.step(waiting)
        ready = [sequence for sequence in running if sequence.prefilled and not sequence.done]
        if ready:
            self._decode.step(sorted(ready, key=lambda sequence: sequence.slot))
            counters.add("batch_gt1_steps", len(ready) > 1)

