"""Panes of the run screen: each reads the run and returns lines; none keeps run state of its own."""
