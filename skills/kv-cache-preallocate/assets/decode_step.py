    @torch.inference_mode()
    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Logits:
        rows = max(slots) + 1
        length = max(positions) + 1
        # Row i is slot i, so that keys and values are plain slices. A slot that takes no part gets a token at the
        # position that exists only for this purpose.
        row_ids, row_positions = [0] * rows, [self.max_len] * rows
        for slot, token, position in zip(slots, ids, positions, strict=True):
            row_ids[slot], row_positions[slot] = token, position
        at = torch.tensor(row_positions)
        places = self._places(at)
        hidden = torch.zeros(rows, 1, 1, length, dtype=self._embedding.dtype)
        hidden.masked_fill_((torch.arange(length) > at.unsqueeze(1)).view(rows, 1, 1, length), float("-inf"))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            self._store_rows(layer, places, k, v)
            return self._attend_rows(layer, q, length, hidden)

        x = self._forward(torch.tensor(row_ids), self._turns[at], attend)
        counters.add("kv_static_steps")
        return self._logits(x if list(slots) == list(range(rows)) else x[torch.tensor(slots)])

