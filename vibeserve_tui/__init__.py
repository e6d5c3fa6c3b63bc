"""VibeServe: agents write the LLM serving system for one model, machine and workload."""

__version__ = "0.1.0"
