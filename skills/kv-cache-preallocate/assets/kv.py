    def _allocate(self, dtype: torch.dtype) -> None:
        shape = self.shape
        size = (shape.layers, self.slots, shape.kv_heads, self.max_len + 1, shape.head_dim)
        self._keys, self._values = torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
        self._head_starts = torch.arange(self.slots * shape.kv_heads).view(self.slots, -1) * (self.max_len + 1)

    def _stored(self, layer: int, first: int, last: int, length: int) -> tuple[Tensor, Tensor]:
        """Views [slots, kv_heads, length, head_dim] of slots first..last; nothing is copied."""
        return self._keys[layer, first:last, :, :length], self._values[layer, first:last, :, :length]

    def _store_span(self, layer: int, span: tuple[int, int, int], k: Tensor, v: Tensor) -> None:
        slot, start, end = span
        self._keys[layer, slot, :, start:end] = k.transpose(0, 1)
        self._values[layer, slot, :, start:end] = v.transpose(0, 1)

    def _places(self, positions: Tensor) -> Tensor:
        """Where the heads of row i, at positions[i] of slot i, lie in a layer's cache seen as [all rows, head_dim]."""
        return (self._head_starts[: len(positions)] + positions.unsqueeze(1)).flatten()

    def _store_rows(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        head_dim = self.shape.head_dim
        self._keys[layer].view(-1, head_dim).index_copy_(0, places, k.reshape(-1, head_dim))
        self._values[layer].view(-1, head_dim).index_copy_(0, places, v.reshape(-1, head_dim))

    @torch.inference_mode()
    def copy_prefix(self, source: int, target: int, length: int) -> None:
        self._keys[:, target, :, :length] = self._keys[:, source, :, :length]
        self._values[:, target, :, :length] = self._values[:, source, :, :length]

