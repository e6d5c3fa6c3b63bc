"""Files made from the journal for people and scripts; they can be deleted at any time and are rebuilt byte for byte.

`progress.md` is the one view that is also an input: a person may edit it while the run goes on, and the engine takes a
text that differs from what it wrote as an edit of the memory.
"""

from __future__ import annotations

import json

from vibeserve_tui.run_state import RunState
from vibeserve_tui.state import durable, issues, memory
from vibeserve_tui.state.run_dir import RunDir

MEMORY_FILE = "progress.md"


class Views:
    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._written: dict[str, bytes] = {}

    def write(self, state: RunState) -> None:
        """Bring every view up to date; unchanged ones are not touched."""
        for name, text in render(state).items():
            data = text.encode()
            path = self._run.views / name
            if self._written.get(name) != data or not path.exists():
                durable.write_atomic(path, data)
                self._written[name] = data

    def edited_memory(self, state: RunState) -> str | None:
        """The memory text that somebody wrote into the view since it was last written, by this process or another."""
        path, recorded = self._run.views / MEMORY_FILE, self._run.views / "state.json"
        try:
            text = path.read_text("utf-8", "replace")
            written = json.loads(recorded.read_bytes())["memory_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # a view that is missing or half-made says nothing; it is rebuilt
        return text if memory.digest(text) != written and text != state.memory else None


def render(state: RunState) -> dict[str, str]:
    """File name to content, a pure function of the state."""
    rounds = [record.model_dump(mode="json", exclude={"verdict", "measured"}) for record in state.rounds.values()]
    return {
        "issues.md": issues.as_markdown(state.issues.values()),
        MEMORY_FILE: state.memory,
        "rounds.json": json.dumps(rounds, indent=1, sort_keys=True) + "\n",
        "state.json": json.dumps(
            {
                "run": state.run, "status": state.status, "reason": state.status_reason, "champion": state.champion,
                "champion_commit": state.champion_commit, "seq": state.seq,
                "memory_sha256": memory.digest(state.memory),
            },
            indent=1,
            sort_keys=True,
        )
        + "\n",
    }  # fmt: skip
