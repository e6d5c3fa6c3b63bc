"""Coding CLIs as agents: one driver a program, and one runner that starts, feeds, watches and ends them all."""
