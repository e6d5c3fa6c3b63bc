"""`python -m tests.reliability.client FOLDER [waits|TIER]`: starts an engine as a client does and follows it as text."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from vibeserve_tui.headless import follow
from vibeserve_tui.state.run_dir import RunDir


def main() -> int:
    folder = Path(sys.argv[1])
    run = RunDir(folder / "run")
    with run.log.open("ab") as log:
        engine = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.synthetic", *sys.argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "pids").write_text(f"{os.getpid()} {engine.pid}")
    while not run.journal.exists():
        time.sleep(0.01)
    return follow(run)


if __name__ == "__main__":
    sys.exit(main())
