"""gate explain RUN ROUND: a measurement's decision, step by step, computed again from its evidence."""

from __future__ import annotations

import argparse

from pydantic import ValidationError

from vibeserve_tui.client import open_state
from vibeserve_tui.errors import RunError, StateDamaged
from vibeserve_tui.evaluation.evidence import Evidence, explain, recompute
from vibeserve_tui.run_state import RunState
from vibeserve_tui.safe_text import clean
from vibeserve_tui.verbs.common import add_runs_dir, root_of

CONFIRMED = "confirmed"
EXAMPLES = """
examples:
  vibeserve gate explain latest 3            its blocks, its limits and why it was or was not kept, computed again
  vibeserve gate explain latest 0            how much identical servers differ on this machine
  vibeserve gate explain latest confirmed    the champion against the baseline, as the report quotes it
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    parser.add_argument("action", choices=["explain"], help="what to do")
    parser.add_argument("run", metavar="RUN", help="a run's id, the unique beginning of one, or `latest`")
    parser.add_argument(
        "round", type=_round, metavar="ROUND", help=f"the round; 0 is the baseline, `{CONFIRMED}` the last confirmation"
    )
    add_runs_dir(parser)


def _round(text: str) -> int | None:
    """None = the last confirmation."""
    if text == CONFIRMED:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a round nor {CONFIRMED!r}") from error


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    from vibeserve_tui.state.run_dir import find_run

    directory = find_run(options.run, root_of(options))
    digest = _evidence_of(open_state(directory), options.round, directory.name)
    try:
        evidence = Evidence.model_validate_json(directory.get_blob(digest))
    except ValidationError as error:
        what = (
            f"the evidence {digest[:12]} cannot be read: {error.error_count()} of its fields are not as they should be"
        )
        raise StateDamaged(what, where=directory.name) from error
    print(clean("\n".join(explain(evidence))))
    if recompute(evidence) != evidence.decision:
        raise StateDamaged(f"the decision does not follow from its evidence {digest[:12]}", where=directory.name)
    return 0


def _evidence_of(state: RunState, number: int | None, run: str) -> str:
    """Digest of the evidence of a round, or of the last confirmation."""
    if number is None:
        if not state.confirmed or not state.confirmed[-1].evidence:
            raise RunError("nothing was confirmed yet", where=run)
        return state.confirmed[-1].evidence
    record = state.rounds.get(number)
    if record is None:
        raise RunError(f"there is no finished round {number}", where=run)
    if record.measured is None or not record.measured.evidence:
        raise RunError(f"round {number} was never measured: {record.reason}", where=run)
    return record.measured.evidence
