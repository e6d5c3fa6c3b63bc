"""Long results: their head and tail are answered, the whole is kept as a blob and can be read in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vibeserve_tui.agents.protocol import ToolError
from vibeserve_tui.errors import did_you_mean

PREFIX = "@outputs/"
NAME_LENGTH = 12


@dataclass(slots=True)
class Outputs:
    """Of one call of a role: it can read back what its own tools answered, and no other blob of the run."""

    put_blob: Callable[[bytes], str]
    _texts: dict[str, str] = field(default_factory=dict)

    def cut(self, text: str, limit: int) -> str:
        """The text, or as much of its two ends as fits, what is missing, and where the whole is."""
        if len(text) <= limit:
            return text
        name = self.put_blob(text.encode("utf-8", "replace"))[:NAME_LENGTH]
        self._texts[name] = text
        head, tail = text[: limit * 2 // 3], text[-(limit // 3) :]
        missing = len(text) - len(head) - len(tail)
        return f"{head}\n… {missing:,} characters left out; all of it: read {PREFIX}{name} …\n{tail}"

    def read(self, name: str) -> str:
        if name not in self._texts:
            known = ", ".join(f"{PREFIX}{known}" for known in self._texts) or "none so far"
            raise ToolError(f"there is no output {name!r}{did_you_mean(name, self._texts)}; there are: {known}")
        return self._texts[name]
