"""Monotone integers shown in /health: what this server has really done since it started."""

from collections import Counter

_counts: Counter[str] = Counter()


def add(name: str, amount: int = 1) -> None:
    """Only one thread may add to a given name: `+=` on a dictionary is not atomic."""
    _counts[name] += amount


def snapshot() -> dict[str, int]:
    return dict(_counts)
