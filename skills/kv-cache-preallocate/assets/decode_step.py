    def _prepare_decode(self, config: Config) -> None:
        # The first operations of a process cost more than all later ones: not at the first client's expense.
        self.prefill(0, [0, 0], 0)
        self._decode_rows([0], [2], 3)

    @torch.inference_mode()
    def _decode_rows(self, row_ids: list[int], row_positions: list[int], length: int) -> np.ndarray:
        """One token for each of the slots 0, 1, …; no token looks further back than `length` positions."""
        rows, at = len(row_ids), torch.tensor(row_positions)
        places = self._places(at)
        mask = torch.zeros(rows, 1, 1, length, dtype=self._embedding.dtype)
        mask.masked_fill_((torch.arange(length) > at.unsqueeze(1)).view(rows, 1, 1, length), float("-inf"))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._store_rows(layer, places, k, v)
            return self._attend_rows(layer, q, length, mask)

        return self._logits(self._forward(torch.tensor(row_ids), self._turns[at], attend))

