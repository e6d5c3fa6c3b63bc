"""A round of a run as a project of its own, which starts without VibeServe."""
