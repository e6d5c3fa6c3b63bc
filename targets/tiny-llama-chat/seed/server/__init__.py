"""An OpenAI-compatible server for one model: `python -m server`, everything else comes from the environment."""
