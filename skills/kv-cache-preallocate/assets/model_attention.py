    def _attend_span(self, layer: int, span: tuple[int, int, int], q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Positions start..end of one slot look at everything before them and at themselves."""
        slot, start, end = span
        self._store_span(layer, span, k, v)
        keys, values = self._stored(layer, slot, slot + 1, end)
        # The built-in causal mask is right only when the queries begin where the keys begin.
        mask = None if start == 0 else torch.ones(end - start, end, dtype=torch.bool).tril_(start)
        found = F.scaled_dot_product_attention(
            q.transpose(0, 1).unsqueeze(0), keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
        )
        return found[0].transpose(0, 1).flatten(1)

    def _attend_rows(self, layer: int, q: Tensor, length: int, mask: Tensor) -> Tensor:
        """Row i is the newest position of slot i; `mask` [rows, 1, 1, length] is -inf where it may not look."""
        keys, values = self._stored(layer, 0, len(q), length)
        found = F.scaled_dot_product_attention(q.unsqueeze(2), keys, values, attn_mask=mask, enable_gqa=True)
        return found.flatten(1)

