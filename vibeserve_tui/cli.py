"""The command line: finds the verb, runs it, and turns every expected error into one line and an exit code.

Each verb is one module of `verbs/`, imported only when it is called, so that `vibeserve --help` stays instant.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from vibeserve_tui import __version__
from vibeserve_tui.ascii_signs import TWINS_ELSE_QUESTION, lacks_signs
from vibeserve_tui.errors import EnvironmentFault, InputError, StateDamaged, VibeServeError, did_you_mean
from vibeserve_tui.safe_text import clean_line

GROUPS: dict[str, dict[str, str]] = {
    "Run": {
        "run": "synthesize a serving system for a target",
        "resume": "go on with a run that was paused, interrupted or killed",
        "attach": "watch a run that is going on, in the app or as text",
        "replay": "play a recorded run again",
        "demo": "play the recorded default run that comes with the package",
        "ls": "list runs",
    },
    "Decide": {
        "approve": "keep the round that waits for an answer",
        "revert": "turn down the waiting round, or go back to an earlier one",
        "retry": "turn down the waiting round and try its task again with a comment",
        "steer": "leave a note that every later plan sees",
        "pause": "pause a run after the round in flight",
        "stop": "end a run after this round, or now",
    },
    "Results": {
        "report": "what a run found, as Markdown, HTML or JSON",
        "export": "write the champion as a project that runs without VibeServe",
        "ask": "ask about a run: why a round was rejected, what is left to try",
        "compare": "measure what two runs ended with beside one another",
        "gate": "explain a measurement's decision from its evidence",
        "bench": "measure any OpenAI-compatible server with the load generator",
    },
    "Set up": {
        "doctor": "what this machine can do, and how to fix what is missing",
        "target": "list, check or make targets",
        "skills": "list and read the skills library",
        "mcp": "show a run to a coding assistant, as an MCP server on stdin and stdout",
    },
}
VERBS = {verb: summary for group in GROUPS.values() for verb, summary in group.items()}

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
MISNAMED = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
BARRED = MISNAMED | {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
"""What a path of the user's may come to; each verb that knows better says better."""
LONGEST_PLACE = 200

EPILOG = """\
examples:
  vibeserve [--runs-dir DIR]             open the app
  vibeserve run tiny-llama-chat          the default run; needs no key, no GPU, no network
  vibeserve report latest --json         what it found
  vibeserve export latest my-server      take the server with you

exit codes: 0 finished · 1 failed · 2 bad input · 3 this machine lacks something · 4 paused, resumable
            5 damaged state · 130 left by ctrl-c
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()  # here, where a full disk can still be told
        return code
    except VibeServeError as error:
        # One line, whatever text of a candidate or an agent it quotes.
        print(f"vibeserve: {clean_line(str(error))}", file=sys.stderr)
        only_read = isinstance(error, StateDamaged) and WRITERS.isdisjoint(arguments[:1])
        return InputError.exit_code if only_read else error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) left early; that is its right.
        _print_no_more()
        return 0
    except OSError as error:
        if error.errno in BARRED and error.filename:
            place = clean_line(str(error.filename))
            print(f"vibeserve: {place[:LONGEST_PLACE]}: {error.strerror}", file=sys.stderr)
            return (InputError if error.errno in MISNAMED else EnvironmentFault).exit_code
        if error.errno not in FULL:
            raise
        _print_no_more()
        print(f"vibeserve: nothing more can be written: {error.strerror} (fix: free some space)", file=sys.stderr)
        return EnvironmentFault.exit_code


def _prepare_streams() -> None:
    """A closed stream is as good as /dev/null; one that cannot encode a sign gets its ASCII twin for it.

    So does a terminal of another locale than UTF-8's, whatever Python takes its encoding to be.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - until the end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            encoding = "ascii" if stream.isatty() and lacks_signs(os.environ) else None
            stream.reconfigure(encoding=encoding, errors=TWINS_ELSE_QUESTION)


def _print_no_more() -> None:
    """What is still in the buffer goes nowhere, so that Python does not complain about it on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(arguments: list[str]) -> int:
    no_verb = not arguments and sys.stdin.isatty() and sys.stdout.isatty()
    if no_verb or arguments[:1] == ["--runs-dir"] or (arguments and arguments[0].startswith("--runs-dir=")):
        arguments = ["app", *arguments]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        print(f"vibeserve {__version__}")
        return 0
    verb = arguments[0]
    if verb not in VERBS and verb != "app":
        print(f"vibeserve: no verb {verb!r}{did_you_mean(verb, VERBS)} (fix: vibeserve --help)", file=sys.stderr)
        return 2
    options = parser_of(verb).parse_args(arguments[1:])
    code: int = _module(verb).run(options, verb)
    return code


def parser_of(verb: str) -> argparse.ArgumentParser:
    """What a verb takes; only its own module is imported."""
    prog = "vibeserve" if verb == "app" else f"vibeserve {verb}"
    parser = Parser(prog=prog, description=VERBS.get(verb, ""), formatter_class=HelpFormatter)
    _module(verb).configure(parser, verb)
    return parser


def _module(verb: str) -> ModuleType:
    return import_module(f"vibeserve_tui.verbs.{MODULES.get(verb, verb)}")


MODULES = dict.fromkeys(("approve", "revert", "retry", "steer", "pause", "stop"), "control") | {"demo": "replay"}
"""Verbs that share a module; every other verb has the module of its name."""


WRITERS = frozenset({"run", "resume"})
"""For these a damaged journal is damaged state, since they would have to go on with it; for the others it is bad input."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps examples as they are written and shows defaults, where there is one to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_something = action.default not in (None, "", False, [])
        return super()._get_help_string(action) if says_something else action.help


class Parser(argparse.ArgumentParser):
    """Says a usage error in one line, with the way out."""

    def error(self, message: str) -> None:  # type: ignore[override]  # argparse's own never returns either
        print(f"{self.prog}: {clean_line(message)} (fix: {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def _help() -> str:
    lines = ["vibeserve – agents write the LLM serving system for your model, machine and workload", ""]
    lines += ["usage: vibeserve [VERB] [--help]", ""]
    for group, verbs in GROUPS.items():
        lines.append(f"{group}:")
        lines += [f"  {verb:<10}{summary}" for verb, summary in verbs.items()]
        lines.append("")
    return "\n".join([*lines, EPILOG])


if __name__ == "__main__":
    sys.exit(main())
