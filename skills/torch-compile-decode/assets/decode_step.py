    def _prepare_decode(self, config: Config) -> None:
        from server.compiled_decode import CompiledDecode

        self._compiled = CompiledDecode(self.weights, self.shape, self._keys, self._values, self._turns, config)
        self.prefill(0, [0, 0], 0)
        self._compiled.warm_up()

    @torch.inference_mode()
    def _decode_rows(self, row_ids: list[int], row_positions: list[int], length: int) -> np.ndarray:
        """One token for each of the slots 0, 1, …; no token looks further back than `length` positions."""
        rows = self._compiled.bucket(len(row_ids))
        idle = rows - len(row_ids)
        at = torch.tensor(row_positions + [self.max_len] * idle)
        ids = torch.tensor(row_ids + [0] * idle)
        x = self._compiled(ids, at, length)
        return self._logits(x[: len(row_ids)])

