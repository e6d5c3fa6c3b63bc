class Layer:
    """One decoder layer but for the attention itself, with two fused matrices; x is [rows, hidden]."""

    def __init__(self, weights: dict[str, Tensor], index: int, shape: Shape) -> None:
        prefix = f"layers.{index}."
        self._shape = shape
        self._widths = [shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.kv_heads * shape.head_dim]
        self._input_norm = weights[prefix + "input_layernorm"]
        self._mlp_norm = weights[prefix + "post_attention_layernorm"]
        self._qkv = Linear(torch.cat([weights[f"{prefix}self_attn.{name}_proj"] for name in "qkv"]))
        self._o = Linear(weights[prefix + "self_attn.o_proj"])
        self._gate_up = Linear(torch.cat([weights[f"{prefix}mlp.{name}_proj"] for name in ("gate", "up")]))
        self._down = Linear(weights[prefix + "mlp.down_proj"])
        counters.add("fused_projections", 2)

    def qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [rows, heads, head_dim], keys and values [rows, kv_heads, head_dim], none of them rotated yet."""
        fused = self._qkv(norm(x, self._input_norm, self._shape.eps))
        q, k, v = (part.unflatten(-1, (-1, self._shape.head_dim)) for part in fused.split(self._widths, -1))
        return q, k, v

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what attention found, then the feed-forward part."""
        x = x + self._o(attended)
        gate, up = self._gate_up(norm(x, self._mlp_norm, self._shape.eps)).chunk(2, -1)
        return x + self._down(F.silu(gate) * up)


