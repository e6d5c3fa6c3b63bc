"""The metal backend: one Apple Silicon GPU, through MLX. Written from documentation and samples, never run on a Mac."""

from vibeserve_metal.metal import MetalBackend


def backend() -> MetalBackend:
    """Entry point of the plugin."""
    return MetalBackend()
