"""The cpu backend: any x86-64 or arm64 processor, on Linux and macOS."""

from vibeserve_cpu.cpu import CpuBackend


def backend() -> CpuBackend:
    """Entry point of the plugin."""
    return CpuBackend()
