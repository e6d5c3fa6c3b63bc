"""What /health shows of this server: monotone integers, what it has done, and words, how it came up."""

from collections import Counter

_counts: Counter[str] = Counter()
_notes: dict[str, str] = {}


def add(name: str, amount: int = 1) -> None:
    """Only one thread may add to a given name: `+=` on a dictionary is not atomic."""
    _counts[name] += amount


def snapshot() -> dict[str, int]:
    return dict(_counts)


def note(name: str, text: str) -> None:
    _notes[name] = text


def notes() -> dict[str, str]:
    return dict(_notes)
