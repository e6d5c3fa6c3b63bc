"""Scripted players: what a model would do in a round, as plain functions of the request.

A player is asked with the role, the prompt and the results of its last tool calls, and answers with its next calls. It
keeps no state, so the same function plays behind a fake server, a fake command-line client or in process. They know the
fast tree of tests/cheats, where `server/decode.py` takes all steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tests.fakes.llm import Call as FakeCall
from tests.fakes.llm import Request, Turn

Call = tuple[str, dict[str, object]]
Player = Callable[[str, str, Sequence[str]], list[Call]]

FILE = "server/decode.py"
COUNTER = "counted_steps"
OLD = "        for sequence, token in zip("
NEW = f'        counters.add("{COUNTER}", len(sequences))\n{OLD}'
IMPORT = "from server.config import Config\n"
WAIT = "time.sleep(0.02)"
"""In every step of a champion that a gate shall see beaten."""
HUNK = re.compile(r"^@@ .*\+(\d+),(\d+) @@", re.MULTILINE)
ROLE = re.compile(r"You are the (\w+) of VibeServe")

PLAN = {
    "action": "task",
    "title": "Count the steps of the decoder",
    "task": f"Add the counter {COUNTER} to {FILE}, by the number of sequences in each step.",
    "family": "schedule",
    "pass_criteria": [f"{COUNTER} grows under load"],
    "skills": ["continuous-batching"],
    "hypothesis": {
        "claim": "counting costs nothing and shows how full the steps are",
        "mechanism": "one addition per step",
        "activation": COUNTER,
        "falsifier": f"{COUNTER} stays 0 under load",
        "expected_low": 0.99,
        "expected_high": 1.6,
    },
    "reasoning": "the floor is reached; now look at the batches",
    "notes": ["steps are not counted yet"],
}
PERF = {"bottleneck": "model", "reading": "most of it is the model"}


def role_of(system: str) -> str:
    found = ROLE.search(system)
    return found[1] if found else ""


def honest(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """Plans, reads before it writes, makes a sound change, and reviews without suspicion."""
    match role:
        case "orchestrator":
            plan = PLAN | {"family": "schedule" if "were about `schedule`" not in prompt else "sample"}
            return _after_a_look(results, [("rounds", {}), ("list_recipes", {})], plan)
        case "implementer":
            return _build(results)
        case "judge":
            report = {"verdict": "pass", "feedback": "a counter and its import, nothing else"}
            return _after_a_look(results, [("read", {"path": FILE})], report)
        case "evaluator":
            return [("submit", dict(PERF))]
        case _:
            return [("submit", {"text": "Round 0 is the seed.", "rounds": [0]})]


def cheating(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """An implementer that first patches the clock, then brings a benchmark of its own; everybody else is honest."""
    if role != "implementer":
        return honest(role, prompt, results)
    if any(text.startswith(("new ", "changed ")) for text in results):
        return [("submit", {"summary": "made it much faster"})]
    if not results:
        return [("skill", {"name": "continuous-batching"})]
    if "was rejected" in prompt:
        return [("write", {"path": "target.toml", "text": "levels = []\n"})]
    return [("write", {"path": "server/clock.py", "text": "import time\n\ntime.perf_counter = lambda: 0.0\n"})]


def spoiling(path: str, addition: str) -> Player:
    """An implementer that appends something to a file of the server; everybody else is honest."""

    def player(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
        if role != "implementer":
            return honest(role, prompt, results)
        if not results:
            return [("skill", {"name": "continuous-batching"}), ("read", {"path": path})]
        if any(text.startswith("changed ") for text in results):
            return [("submit", {"summary": "much faster now"})]
        return [("write", {"path": path, "text": plain(results[-1]) + addition})]

    return player


def giving_up(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    if role == "implementer":
        return [("submit", {"summary": "nothing", "gave_up": "it cannot be done"})]
    return honest(role, prompt, results)


def vetoing(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """A reviewer that points at a line of the diff."""
    if role != "judge":
        return honest(role, prompt, results)
    first, count = map(int, HUNK.findall(prompt)[-1])
    place = {"path": FILE, "lines": [first, first + count - 1], "severity": "blocking", "category": "counter"}
    place |= {"claim": "counts what it should not"}
    return [
        ("submit", {"verdict": "veto", "findings": [place], "suspicion": "frozen_counter", "feedback": "count less"})
    ]


def babbling(role: str, prompt: str, results: Sequence[str]) -> list[Call]:
    """Never gives a usable answer."""
    return [("submit", {"verdict": "maybe"})]


def _after_a_look(results: Sequence[str], looks: list[Call], answer: dict[str, object]) -> list[Call]:
    return [("submit", dict(answer))] if results else looks


def _build(results: Sequence[str]) -> list[Call]:
    """Read the skill and the file, write the file, check that it compiles, submit."""
    if not results:
        return [("skill", {"name": "continuous-batching"}), ("read", {"path": FILE})]
    if any(text.startswith("changed ") for text in results):
        return [("bash", {"command": f"python3 -m py_compile {FILE} && echo fine"})]
    if any("fine" in text for text in results):
        report = {"summary": f"counts steps in {FILE}", "changes": [{"path": FILE, "why": "the counter"}]}
        return [("submit", report | {"skills_read": ["continuous-batching"], "activation_added": COUNTER})]
    text = plain(results[-1])
    changed = (
        text.replace(f"        {WAIT}\n", "")
        .replace(OLD, NEW)
        .replace(IMPORT, f"from server import counters\n{IMPORT}")
    )
    return [("write", {"path": FILE, "text": changed})]


def plain(numbered: str) -> str:
    """A file as `read` shows it, without its line numbers."""
    return "".join(f"{line[7:]}\n" for line in numbered.splitlines())


def brain(player: Player) -> Callable[[Request], Turn]:
    """The player as what a fake server answers with."""

    def turn(request: Request) -> Turn:
        last = request.results[-1] if request.results else []
        calls = player(role_of(request.system), request.prompt, last)
        return Turn(calls=[FakeCall(name, arguments) for name, arguments in calls])

    return turn
