    def __init__(self, config: Config) -> None:
        self.dtype = config.text("dtype")
        dtype = getattr(torch, self.dtype)
        self.shape = shape = read_shape(config.model_dir)
        self.vocab, self.eos = shape.vocab, shape.eos
        self.max_len = config.integer("max_len")
        # Spare slots hold no running sequence: a prefix cache may keep things there.
        self.slots = config.integer("max_batch") + config.integer("spare_slots")

        self.weights = weights = read_weights(config.model_dir, shape, dtype)
        self._embedding = weights["embed_tokens"]
        self._layers = [Layer(weights, index, shape) for index in range(shape.layers)]
        self._final_norm = weights["norm"]
        self._head = Linear(weights["lm_head"])
        # One row more than there are positions: rows of a batch that no sequence uses live at that position.
        self._turns = rotations(shape, self.max_len + 1)
        self._allocate(dtype)
        self._prepare_decode(config)

    def prefill(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        return self.prefill_many([slot], [ids], [start])

    @torch.inference_mode()
    def prefill_many(self, slots: Sequence[int], ids_lists: Sequence[Sequence[int]], starts: Sequence[int]) -> Logits:
        x = self._run_spans(slots, ids_lists, starts)
        ends = torch.tensor([len(ids) for ids in ids_lists]).cumsum(0) - 1
        return Logits(self._logits(x[ends]))

    @torch.inference_mode()
    def extend(self, slot: int, ids: Sequence[int], start: int) -> Logits:
        return Logits(self._logits(self._run_spans([slot], [ids], [start])))

    @torch.inference_mode()
    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Logits:
        rows = max(slots) + 1
        # Row i is slot i, so that keys and values are plain slices. A slot that takes no part gets a token at the
        # position that exists only for this purpose.
        row_ids, row_positions = [0] * rows, [self.max_len] * rows
        for slot, token, position in zip(slots, ids, positions, strict=True):
            row_ids[slot], row_positions[slot] = token, position
        logits = self._decode_rows(row_ids, row_positions, max(positions) + 1)
        counters.add("kv_static_steps")
        return Logits(logits if list(slots) == list(range(rows)) else logits[list(slots)])

    def _run_spans(self, slots: Sequence[int], ids_lists: Sequence[Sequence[int]], starts: Sequence[int]) -> Tensor:
        """Consecutive tokens of several slots, laid end to end: only attention has to tell them apart."""
        lengths = [len(ids) for ids in ids_lists]
        spans = [(slot, start, start + n) for slot, start, n in zip(slots, starts, lengths, strict=True)]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = zip(spans, q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
            return torch.cat([self._attend_span(layer, span, *qkv) for span, *qkv in parts])

        ids = torch.tensor([token for ids in ids_lists for token in ids])
        turn = torch.cat([self._turns[start:end] for _, start, end in spans])
        counters.add("prefill_tokens", len(ids))
        return self._forward(ids, turn, attend)

    def _forward(self, ids: Tensor, turn: Tensor, attend: Attend) -> Tensor:
        x = F.embedding(ids, self._embedding)
        for index, layer in enumerate(self._layers):
            q, k, v = layer.qkv(x)
            x = layer.finish(x, attend(index, rotate(q, turn), rotate(k, turn), v))
        return x

    def _logits(self, x: Tensor) -> np.ndarray:
        return self._head(norm(x, self._final_norm, self.shape.eps)).float().numpy()

