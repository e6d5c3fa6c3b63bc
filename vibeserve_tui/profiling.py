"""Profiles a server that you start yourself, with tools that cannot attach to one that runs already.

    python -m vibeserve_tui.profiling BACKEND TOOL OUT [--delay S] [--seconds S] -- COMMAND …

The command is yours (an exported server, say): it runs in your environment and in no box, and so does the tool. Send it
load meanwhile, for instance with `vibeserve bench`. What comes out is a report in JSON; raw files stay in OUT, and may
hold your environment and host name. A run's own profiles attach instead, and need nothing of this.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from vibeserve_tui.backend import LaunchPlan, LaunchProfiler, ProfilesAtLaunch, Window, load_backend
from vibeserve_tui.errors import BackendError, InputError, MeasurementError, VibeServeError, did_you_mean
from vibeserve_tui.profile_report import ProfileReport

LIMIT_S = 300.0
"""For a file that says when the window is over."""
END_S = 20.0


def main(argv: Sequence[str]) -> int:
    own, command = _divided(argv)
    options = _parser().parse_args(own)
    try:
        profiler = find_profiler(options.backend, options.tool)
        report = profile(profiler, command, options.out, Window(delay_s=options.delay, seconds=options.seconds))
    except VibeServeError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    sys.stdout.write(report.model_dump_json(indent=1, exclude_none=True) + "\n")
    return 0


def find_profiler(backend: str, tool: str) -> LaunchProfiler:
    """Raises one line with its fix for a backend without such a tool, or on a machine without it."""
    found = load_backend(backend)
    device = next(iter(found.detect()), None)
    if device is None:
        state = found.availability(None)
        raise BackendError(f"backend {backend} is not usable here: {state.reason or 'no device'}", fix=state.fix)
    tools = {one.id: one for one in found.launch_profilers(device)} if isinstance(found, ProfilesAtLaunch) else {}
    if tool not in tools:
        known = ", ".join(tools) or "none"
        raise InputError(f"backend {backend} has no tool {tool!r}{did_you_mean(tool, tools)}", fix=f"known: {known}")
    state = tools[tool].availability()
    if not state.usable:
        raise BackendError(f"{tool} is not usable here: {state.reason}", fix=state.fix)
    return tools[tool]


def profile(profiler: LaunchProfiler, command: Sequence[str], out: Path, window: Window) -> ProfileReport:
    """Start the server under the tool, wait for the window, end both, and read what was recorded."""
    if not command:
        raise InputError("there is no server command", fix="give it after --")
    out = out.resolve()
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        is_new = not any(out.iterdir())
    except OSError as error:
        what = f"cannot be the folder for the profile: {error.strerror}"
        raise InputError(what, where=str(out), fix="name a new one") from error
    if not is_new:
        raise InputError("the folder for the profile is not empty", where=str(out), fix="name a new one")
    plan = profiler.wrap(command, out, window)
    _record(plan, out, window)
    for step in plan.finish:
        _finish(step, plan.finish_s)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if size > plan.max_bytes:
        fix = "look for a shorter time (--seconds)"
        raise MeasurementError(f"{size >> 20} MiB were recorded, limit {plan.max_bytes >> 20}", where=str(out), fix=fix)
    try:
        return profiler.parse(out)
    except ValueError as error:
        raise MeasurementError(
            f"no profile: {error}", where=str(out), fix="send it load while it is watched"
        ) from error


def _record(plan: LaunchPlan, out: Path, window: Window) -> None:
    log = out / "server.log"
    try:
        with log.open("wb") as file:
            server = subprocess.Popen(
                plan.argv, env={**os.environ, **plan.env}, stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot be started: {error.strerror}", where=plan.argv[0], fix="check the command") from error
    try:
        deadline = time.monotonic() + (LIMIT_S if plan.written else window.delay_s + window.seconds + 1.0)
        while time.monotonic() < deadline and server.poll() is None:
            if plan.written and (out / plan.written).exists():
                break
            time.sleep(0.1)
    finally:
        _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    """As ctrl-C would: the tools write their files then. What is left of the group is killed."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(END_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _finish(step: Sequence[str], limit_s: float) -> None:
    try:
        done = subprocess.run(step, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MeasurementError(f"{step[0]} did not finish: {error}", fix="see server.log beside the profile") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        raise MeasurementError(f"{step[0]}: {said[-1]}", fix="see server.log beside the profile")


def _divided(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vibeserve_tui.profiling", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("backend", help="cuda, metal, …")
    parser.add_argument("tool", help="what the backend offers: torch, nsys, ncu, xctrace, …")
    parser.add_argument("out", type=Path, help="a new folder for what is recorded")
    parser.add_argument(
        "--delay", type=float, default=20.0, metavar="S", help="seconds to load and warm up (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=6.0, metavar="S", help="seconds to watch (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
