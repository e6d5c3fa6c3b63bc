"""gate explain RUN ROUND: a measurement's decision, step by step, computed again from its evidence."""

from __future__ import annotations

import argparse

from pydantic import ValidationError

from vibeserve_tui.client import open_state
from vibeserve_tui.errors import RunError, StateDamaged
from vibeserve_tui.evaluation.evidence import Evidence, explain, recompute
from vibeserve_tui.safe_text import clean
from vibeserve_tui.verbs.common import add_runs_dir, root_of

EXAMPLES = """
examples:
  vibeserve gate explain latest 3    its blocks, its limits and why it was or was not kept, computed again
  vibeserve gate explain latest 0    how much identical servers differ on this machine
"""


def configure(parser: argparse.ArgumentParser, verb: str) -> None:  # noqa: ARG001 - every verb has this shape
    parser.epilog = EXAMPLES
    parser.add_argument("action", choices=["explain"], help="what to do")
    parser.add_argument("run", metavar="RUN", help="a run's id, the unique beginning of one, or `latest`")
    parser.add_argument("round", type=int, metavar="ROUND", help="the round; 0 is the baseline")
    add_runs_dir(parser)


def run(options: argparse.Namespace, verb: str) -> int:  # noqa: ARG001
    from vibeserve_tui.state.run_dir import find_run

    directory = find_run(options.run, root_of(options))
    record = open_state(directory).rounds.get(options.round)
    if record is None:
        raise RunError(f"there is no finished round {options.round}", where=directory.name)
    if record.measured is None or not record.measured.evidence:
        raise RunError(f"round {options.round} was never measured: {record.reason}", where=directory.name)
    digest = record.measured.evidence
    try:
        evidence = Evidence.model_validate_json(directory.get_blob(digest))
    except ValidationError as error:
        what = (
            f"the evidence {digest[:12]} cannot be read: {error.error_count()} of its fields are not as they should be"
        )
        raise StateDamaged(what, where=directory.name) from error
    lines = explain(evidence)
    print(clean("\n".join(lines)))
    if recompute(evidence) != evidence.decision:
        raise StateDamaged(
            f"the decision of round {options.round} does not follow from its evidence", where=directory.name
        )
    return 0
