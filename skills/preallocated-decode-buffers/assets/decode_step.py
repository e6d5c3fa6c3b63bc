    def _prepare_decode(self, config: Config) -> None:
        from server.static_decode import StaticDecode

        bucket = config.integer("length_bucket")
        self._static = StaticDecode(self.weights, self.shape, self._keys, self._values, bucket)
        self._static_turns = self._static.turns(self._turns)
        self.prefill(0, [0, 0], 0)
        self._decode_rows([0], [2], 3)

    @torch.inference_mode()
    def _decode_rows(self, row_ids: list[int], row_positions: list[int], length: int) -> np.ndarray:
        """One token for each of the slots 0, 1, …; no token looks further back than `length` positions."""
        at = torch.tensor(row_positions)
        logits = self._static.step(torch.tensor(row_ids), self._static_turns[at], at, self._places(at), length)
        return logits.numpy()

