class Linear:
    """x → x · weightᵀ with int8 weights, one scale per output, and activations quantised on the fly.

    Rounds weights and activations: the answers are no longer those of the full-precision model.
    """

    def __init__(self, weight: Tensor) -> None:
        scales = (weight.abs().amax(1) / 127).clamp_min(1e-8).double()
        zeros = torch.zeros(len(weight), dtype=torch.long)
        quantised = torch.quantize_per_channel(weight.float(), scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        counters.add("int8_matrices")

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.quantized.linear_dynamic(x, self._packed)


