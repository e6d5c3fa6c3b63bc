"""approve, revert, retry, steer, pause, stop: the operator's word, from a shell or a script."""

from __future__ import annotations

import argparse

from vibeserve_tui.commands import LONGEST_REMARK, Approve, Command, Pause, Retry, RevertTo, Steer, Stop
from vibeserve_tui.verbs.common import add_run, run_of, send

EXAMPLES = {
    "approve": """
A run asks with `--approve each-round` or `on-regression`, and in the app. What the judge turned down is not asked about.
""",
    "revert": """
examples:
  vibeserve revert latest --comment "memory doubled"    the waiting round is not kept
  vibeserve revert latest --to 3                        round 3 is the champion again; board and memory stay
""",
    "retry": """
examples:
  vibeserve retry latest --comment "without a second thread pool"
""",
    "steer": """
examples:
  vibeserve steer "look at the tokenizer first"
""",
    "pause": """
The round in flight goes on to its end; `vibeserve resume` goes on from there, now or next week.
""",
    "stop": """
What was kept is still confirmed against the seed; with --now the run ends as it stands.
""",
}


def configure(parser: argparse.ArgumentParser, verb: str) -> None:
    parser.epilog = EXAMPLES[verb]
    if verb == "steer":
        parser.add_argument("note", type=_note, help="what the agents should mind from now on")
    add_run(parser)
    if verb in ("approve", "revert", "retry"):
        parser.add_argument("--comment", type=_remark, default="", help="recorded with the decision")
    if verb == "revert":
        parser.add_argument(
            "--to", type=_number, default=None, metavar="ROUND", help="make this earlier round the champion"
        )
    if verb == "stop":
        parser.add_argument("--now", action="store_true", help="discard the round in flight instead of finishing it")


def _note(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("a note needs words")
    return _remark(text)


def _remark(text: str) -> str:
    if len(text) > LONGEST_REMARK:
        raise argparse.ArgumentTypeError(f"{len(text)} characters are too many, at most {LONGEST_REMARK} are read")
    return text


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a round")
    return int(text)


def run(options: argparse.Namespace, verb: str) -> int:
    return send(run_of(options), _command(options, verb))


def _command(options: argparse.Namespace, verb: str) -> Command:
    match verb:
        case "approve":
            return Approve(comment=options.comment)
        case "revert":
            return RevertTo(round=options.to, comment=options.comment)
        case "retry":
            return Retry(comment=options.comment)
        case "steer":
            return Steer(note=options.note)
        case "pause":
            return Pause()
        case _:
            return Stop(now=options.now)
