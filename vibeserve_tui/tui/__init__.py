"""The terminal app: a client that folds a run's journal and draws it; the only package that imports Textual."""
