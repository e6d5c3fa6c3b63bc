"""A worker whose model is a scripted player: one action a turn, as a grammar would force it. Its model file names the player."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tests.roles import players

PROBE = re.compile(r'with the word "(\w+)"')
RESULT = re.compile(r"\AResult of (\w+):\n")

Messages = list[dict[str, str]]


def main(player: players.Player, asked: TextIO) -> None:
    say(context=200_000, constrained=True)
    turns = played(player)
    next(turns)
    for line in asked:
        messages = json.loads(line)["messages"]
        if probed := PROBE.search(messages[-1]["content"]):
            name, arguments = "repeat", {"word": probed[1]}
        else:
            name, arguments = turns.send(messages)
        say(text=json.dumps({"thought": "", "tool": name, "args": arguments}), prompt_tokens=100, output_tokens=20)


def played(player: players.Player) -> Iterator[players.Call]:
    """A player plans several calls at once; here they are made one by one, and the results handed over together."""
    results: list[str] = []
    messages: Messages = yield  # type: ignore[misc]
    while True:
        calls, results = player(players.role_of(messages[0]["content"]), messages[1]["content"], results), []
        for call in calls:
            messages = yield call
            results.append(RESULT.sub("", messages[-1]["content"]))


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(getattr(players, Path(sys.argv[2]).read_text("utf-8")), sys.stdin)
