"""What servers say that a turn took, made into buckets that do not overlap; and a guess where they say nothing.

Anthropic counts cached input apart, OpenAI counts it within the input: adding the wrong way is a tenfold error in cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vibeserve_tui.agents.loop.turns import Entry, Prefix, Reply, length_of
from vibeserve_tui.agents.protocol import Tokens

LEAST_REPLY = 500
"""Tokens of output that the estimate of a coming turn allows for."""
CHARACTERS_PER_TOKEN = 4.0


def of_messages(usage: Mapping[str, object]) -> Tokens | None:
    """Anthropic's usage: its `input_tokens` are those that no cache had to do with."""
    if not usage.get("input_tokens") and not usage.get("output_tokens"):
        return None
    return Tokens(
        input=_count(usage, "input_tokens"),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_write=_count(usage, "cache_creation_input_tokens"),
        output=_count(usage, "output_tokens"),
        reasoning=_count(_table(usage, "output_tokens_details"), "thinking_tokens"),
    )


def of_openai(usage: Mapping[str, object], *, given: str, made: str) -> Tokens | None:
    """OpenAI's usage: the tokens it was given (`input` or `prompt`) include those from and for the cache."""
    total = _count(usage, f"{given}_tokens")
    if not total and not usage.get(f"{made}_tokens"):
        return None
    details = _table(usage, f"{given}_tokens_details")
    read, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    return Tokens(
        input=max(0, total - read - written),
        cache_read=read,
        cache_write=written,
        output=_count(usage, f"{made}_tokens"),
        reasoning=_count(_table(usage, f"{made}_tokens_details"), "reasoning_tokens"),
    )


def _count(table: Mapping[str, object], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def _table(table: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = table.get(name)
    return value if isinstance(value, Mapping) else {}


@dataclass(slots=True)
class Gauge:
    """Guesses what a turn will take: four characters a token at first, as the server counts after its first reply."""

    per_token: float = CHARACTERS_PER_TOKEN
    sent: int = 0
    """Tokens of the last request."""
    caches: bool = False
    """The server was seen to cache; then it will have what was sent before."""

    def coming(self, prefix: Prefix, history: Sequence[Entry]) -> Tokens:
        """The least that the next turn will take."""
        total = round(self.characters(prefix, history) / self.per_token)
        known = min(self.sent, total) if self.caches else 0
        return Tokens(input=total - known, cache_read=known, output=LEAST_REPLY)

    def learn(self, prefix: Prefix, history: Sequence[Entry], took: Tokens) -> None:
        """Take the server's count of the request that was made of prefix and history."""
        self.sent = took.total - took.output
        self.caches = self.caches or took.cache_read + took.cache_write > 0
        if self.sent:
            self.per_token = self.characters(prefix, history) / self.sent

    def of_reply(self, reply: Reply) -> int:
        """Tokens of output, for a server that does not count."""
        return round(length_of(reply) / self.per_token)

    @staticmethod
    def characters(prefix: Prefix, history: Sequence[Entry]) -> int:
        tools = sum(len(spec.name) + len(spec.description) + len(str(spec.schema)) for spec in prefix.tools)
        return tools + len(prefix.system) + len(prefix.stable) + sum(length_of(entry) for entry in history)
