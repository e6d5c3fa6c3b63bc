    # The query heads that share a key/value head are rows of one matrix product: keys and values are read once per
    # group and never repeated, and all (slot, key/value head) pairs make one batched product.

    def _attend_span(self, layer: int, span: tuple[int, int, int], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Positions start..end of one slot look at everything before them and at themselves."""
        slot, start, end = span
        self._store_span(layer, span, k, v)
        keys, values = (part[0] for part in self._stored(layer, slot, slot + 1, end))
        later = torch.ones(end - start, end, dtype=torch.bool).triu_(start + 1)
        mask = torch.zeros(later.shape, dtype=q.dtype).masked_fill_(later, float("-inf"))
        # [kv_heads, group · count, head_dim]: the group is the outer of the two, so that one mask serves all of it.
        grouped = q.unflatten(1, (self.shape.kv_heads, -1)).permute(1, 2, 0, 3).flatten(1, 2)
        found = self._grouped(grouped, keys, values, mask.repeat(self.shape.group, 1))
        return found.unflatten(1, (self.shape.group, -1)).permute(2, 0, 1, 3).flatten(1)

    def _attend_rows(self, layer: int, q: Tensor, length: int, mask: Tensor) -> Tensor:
        """Row i is the newest position of slot i; `mask` [rows, 1, 1, length] is -inf where it may not look."""
        rows, kv_heads = len(q), self.shape.kv_heads
        keys, values = (part.flatten(0, 1) for part in self._stored(layer, 0, rows, length))
        grouped = q.reshape(rows * kv_heads, -1, self.shape.head_dim)
        mask = mask.expand(-1, kv_heads, -1, -1).flatten(0, 1)
        return self._grouped(grouped, keys, values, mask).view(rows, -1)

    def _grouped(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        counters.add("grouped_attentions")
        scores = torch.baddbmm(mask, q, keys.transpose(1, 2), alpha=self.shape.head_dim**-0.5)
        return torch.bmm(torch.softmax(scores, -1), values)

