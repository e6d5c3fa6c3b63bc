"""Whatever of the family is killed, nothing that it started outlives it by a second, and no port or folder stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.execution.conftest import eventually, marked
from tests.reliability.synthetic import prepare
from vibeserve_tui.client import open_state
from vibeserve_tui.execution.ladder import LADDER, Tier
from vibeserve_tui.state.run_dir import RunDir, lock_holder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TRIALS = int(os.environ.get("VIBESERVE_TEST_ORPHANS", "15"))
VICTIMS = ("app", "engine", "launcher", "box", "terminal")
GRACE_S = 1.0
START_S = 30.0


@dataclass
class Family:
    """A client on a terminal, its engine, the launcher, and a pod with a server and daemons."""

    folder: Path
    client: subprocess.Popen[bytes]
    terminal: int
    up: dict[str, object]
    closing: threading.Event = field(default_factory=threading.Event)
    _drain: threading.Thread | None = None

    def show(self) -> None:
        """A terminal shows what is written to it; nobody may block on one that is full."""
        self._drain = threading.Thread(target=self._read, daemon=True)
        self._drain.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self.closing.is_set():
                if select.select([self.terminal], [], [], 0.02)[0] and not os.read(self.terminal, 65536):
                    return

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "run")

    @property
    def engine(self) -> int:
        return int((self.folder / "pids").read_text().split()[1])

    @property
    def boxed(self) -> list[int]:
        """Everything that carries the run's mark: the launcher, keepers of boxes and what runs in them."""
        return marked(self.folder.name)

    def close_terminal(self) -> None:
        if self.terminal >= 0:
            self.closing.set()
            if self._drain is not None:
                self._drain.join()  # a read under way would keep the terminal open
            os.close(self.terminal)
            self.terminal = -1

    def kill(self, victim: str) -> None:
        match victim:
            case "terminal":
                self.close_terminal()
            case "app":
                self.client.kill()
            case "engine":
                os.kill(self.engine, signal.SIGKILL)
            case "launcher":
                os.kill(int(str(self.up["launcher"])), signal.SIGKILL)
            case _:
                os.kill(random.choice(self.up["boxes"]), signal.SIGKILL)  # type: ignore[arg-type]


@contextlib.contextmanager
def family(folder: Path, how: str) -> Iterator[Family]:
    folder.mkdir()
    prepare(folder, approval="auto")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}", "PYTHONUNBUFFERED": "1"}
    client = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, "-m", "tests.reliability.client", folder, how],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT,
    )  # fmt: skip
    os.close(theirs)
    found = Family(folder, client, ours, {})
    found.show()
    try:
        assert eventually((folder / "up").exists, START_S), (folder / "run" / "engine.log").read_text()
        found.up = json.loads((folder / "up").read_text())
        yield found
    finally:
        found.close_terminal()
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(found.engine, signal.SIGKILL)
        client.kill()
        client.wait()
        for pid in found.boxed:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def left_behind(found: Family) -> list[str]:
    """One second after the whole family should be gone."""
    eventually(lambda: not found.boxed and lock_holder(found.run) is None, GRACE_S)
    faults = [f"process {pid}" for pid in found.boxed]
    if lock_holder(found.run) is not None:
        faults.append("the engine")
    if accepts(int(str(found.up["port"]))):
        faults.append(f"port {found.up['port']}")
    if not eventually(lambda: not Path(str(found.up["scratch"])).exists(), GRACE_S):
        faults.append(f"folder {found.up['scratch']}")
    return faults


def trial(folder: Path, victim: str, tier: Tier) -> list[str]:
    with family(folder, tier) as found:
        found.kill(victim)
        if victim == "app":
            time.sleep(0.2)
            if lock_holder(found.run) is None or not found.boxed:
                return ["the run did not go on without its client"]
            found.kill("engine")
        if victim == "box":
            # The engine hears of it; here nobody asks, so that the rest has to go on.
            dead = [pid for pid in found.up["boxes"] if Path(f"/proc/{pid}").exists()]  # type: ignore[union-attr]
            if not eventually(lambda: sum(Path(f"/proc/{pid}").exists() for pid in dead) < 2, GRACE_S):
                return ["the box did not end"]
            found.kill("engine")
        return [f"{victim} on {tier}: {fault} is left" for fault in left_behind(found)]


def test_nothing_outlives_its_family(tmp_path: Path, record_property) -> None:
    found = []
    record_property("trials", f"{TRIALS} kills")
    for number in range(TRIALS):
        victim, tier = VICTIMS[number % len(VICTIMS)], LADDER[number // len(VICTIMS) % len(LADDER)]
        found += trial(tmp_path / uuid.uuid4().hex, victim, tier)
    assert found == []


@pytest.mark.parametrize("victim", VICTIMS)
def test_each_member_may_be_killed(tmp_path: Path, victim: str) -> None:
    assert trial(tmp_path / uuid.uuid4().hex, victim, Tier.BWRAP) == []


def test_a_killed_launcher_pauses_the_run(tmp_path: Path) -> None:
    with family(tmp_path / uuid.uuid4().hex, Tier.BWRAP) as found:
        found.kill("launcher")
        assert eventually(lambda: lock_holder(found.run) is None, 5.0)
        state = open_state(found.run)
        assert state.status == "paused"
        assert "launcher ended unexpectedly" in state.status_reason
