"""A worker without a model: loads as it is told to, and answers each question with the next line of its script."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

script = json.loads(Path(sys.argv[2]).read_text("utf-8"))


def say(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if refusal := script.get("refuses_to_load"):
    say(reason=refusal)
    sys.exit(0)
sys.stderr.write("a warning of the library\n" * script.get("warnings", 0))
say(context=script.get("context", 2048), constrained=True)
for line, answer in zip(sys.stdin, script["answers"], strict=False):
    with Path(script["heard"]).open("a", encoding="utf-8") as heard:
        heard.write(line)
    match answer:
        case "die":
            sys.stderr.write("out of memory\n")
            os._exit(9)
        case "hang":
            time.sleep(600)
        case "environment":
            say(text=json.dumps(dict(os.environ)), prompt_tokens=1, output_tokens=1)
        case "too long":
            say(reason="3000 tokens", too_long=True)
        case {"cut": text}:
            say(text=text, prompt_tokens=10, output_tokens=5, cut=True)
        case str():
            say(text=answer, prompt_tokens=10, output_tokens=5)
        case action:
            say(text=json.dumps(action), prompt_tokens=10, output_tokens=5)
