"""Coding CLIs as agents: a driver for each program, one runner for them all."""
