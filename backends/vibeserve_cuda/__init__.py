"""The cuda backend: one NVIDIA GPU on Linux. Written from documentation and recorded output, not yet run on a GPU."""

from vibeserve_cuda.cuda import CudaBackend


def backend() -> CudaBackend:
    """Entry point of the plugin."""
    return CudaBackend()
