"""Runs engine processes that may be killed: a small server that has everything imported and forks one per order.

`python -m tests.reliability.yard` reads lines of JSON, `{"folder": …, "failpoint": …}`, and answers twice: the pid of
the new process, which leads a process group of its own, and then its exit status as `waitpid` has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[2]


class Yard:
    """The server as its tests see it; one order at a time."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.yard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.wait()

    def start(self, folder: Path, failpoint: str = "") -> int:
        """Returns the process' id, which is also its group's."""
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"folder": str(folder), "failpoint": failpoint}) + "\n")
        self._server.stdin.flush()
        return self._answer()

    def wait(self) -> int:
        """The exit code, negative for a signal."""
        return os.waitstatus_to_exitcode(self._answer())

    def run(self, folder: Path, failpoint: str = "") -> int:
        self.start(folder, failpoint)
        return self.wait()

    def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())


def kill_group(group: int) -> None:
    """An engine and its git, at once."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def serve() -> None:
    import git
    import git.exc  # noqa: F401

    from tests.reliability import synthetic
    from vibeserve_tui.state import durable

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 71
            try:
                os.setpgid(0, 0)
                durable.arm(order["failpoint"])
                code = synthetic.work_on(Path(order["folder"]))
            except Exception:  # noqa: BLE001 - the exit code tells the test, and this the reader
                traceback.print_exc()
            finally:
                os._exit(code)
        with contextlib.suppress(OSError):  # whichever of the two comes first
            os.setpgid(pid, pid)
        answers.write(f"{pid}\n")
        answers.write(f"{os.waitpid(pid, 0)[1]}\n")


if __name__ == "__main__":
    serve()
