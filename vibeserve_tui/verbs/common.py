"""What several verbs share: naming a run, printing a table, waiting for the engine's answer."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vibeserve_tui.client import AttachedClient, Liveness
from vibeserve_tui.commands import Command
from vibeserve_tui.errors import InputError, RunError
from vibeserve_tui.safe_text import clean_line
from vibeserve_tui.state.run_dir import RunDir, find_run, lock_holder, runs_root

ANSWER_S = 10.0


def add_runs_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs-dir", type=Path, default=None, metavar="DIR", help="where runs are kept")


def add_run(parser: argparse.ArgumentParser, *, optional: bool = True) -> None:
    parser.add_argument(
        "run",
        nargs="?" if optional else None,
        default="latest",
        metavar="RUN",
        help="a run's id, the unique beginning of one, its directory, or `latest`",
    )
    add_runs_dir(parser)


def add_limits(parser: argparse.ArgumentParser, *, more: str = "") -> None:
    """What agents may take. In USD and tokens, for the whole run."""
    parser.add_argument(
        "--max-usd", type=positive, default=None, metavar="USD", help=f"pause before agents cost more{more}"
    )
    parser.add_argument(
        "--max-tokens", type=whole, default=None, metavar="N", help="pause before they take more tokens"
    )


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number up to 100000")
    return value


def whole(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def root_of(options: argparse.Namespace) -> Path:
    root: Path = options.runs_dir or runs_root()
    if root.exists() and not root.is_dir():
        raise RunError("is no folder", where=str(root), fix="--runs-dir DIR")
    return root


def run_of(options: argparse.Namespace) -> RunDir:
    return find_run(options.run, root_of(options))


def send(run: RunDir, command: Command) -> int:
    """Hand a command to the engine and wait for its answer; prints it. Raises InputError when it was rejected."""
    client = AttachedClient(run)
    while client.poll():
        pass
    alive = client.liveness()
    if alive not in (Liveness.RUNNING, Liveness.PAUSED, Liveness.NOT_RESPONDING) or lock_holder(run) is None:
        over = alive in (Liveness.FINISHED, Liveness.FAILED)
        fix = f"vibeserve {'report' if over else 'resume'} {run.name}"
        raise RunError(f"no engine works on this run ({alive})", where=run.name, fix=fix)
    identifier = client.send(command)
    deadline = time.monotonic() + ANSWER_S
    while identifier not in client.state.answered:
        if time.monotonic() > deadline:
            raise RunError("the engine did not answer; the command waits in its inbox", where=run.name)
        client.poll()
        time.sleep(0.05)
    answer = client.state.answered[identifier]
    client.close()
    if answer != "accepted":
        raise InputError(answer, where=f"{run.name}: {command.kind}")
    print(f"{run.name}: {command.kind} accepted", file=sys.stderr)
    return 0


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns padded to their widest cell; those in `right` are aligned to the right. Whatever a cell quotes is cleaned."""
    rows = [[clean_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
