"""One run's directory: where its journal, blobs, git store, inbox and views live, and who owns it.

Only the holder of `lock` writes journal, store and views; clients write nothing but inbox files. The directory is
private to its user (0700) and can be moved: nothing inside it names an absolute path of itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from vibeserve_tui import foreign_trees
from vibeserve_tui.commands import AnyCommand, Command, parse_command
from vibeserve_tui.errors import LockHeld, RunError, did_you_mean
from vibeserve_tui.foreign_trees import REMOVED
from vibeserve_tui.state import durable

MAX_COMMAND_BYTES = 1 << 20
MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class RunDir:
    path: Path

    @property
    def journal(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def blobs(self) -> Path:
        return self.path / "blobs"

    @property
    def store(self) -> Path:
        return self.path / "store.git"

    @property
    def inbox(self) -> Path:
        return self.path / "inbox"

    @property
    def workspace(self) -> Path:
        return self.path / "workspace"

    @property
    def checkouts(self) -> Path:
        return self.path / "checkouts"

    @property
    def views(self) -> Path:
        return self.path / "views"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def log(self) -> Path:
        return self.path / "engine.log"

    @property
    def order(self) -> Path:
        """What the run was asked to do, written by the client before the engine starts."""
        return self.path / "order.json"

    @property
    def name(self) -> str:
        return self.path.name

    def create(self) -> None:
        """Make the skeleton; existing parts stay."""
        for folder in (self.path, self.blobs, self.inbox, self.checkouts, self.views):
            durable.make_directory(folder)

    def settle(self) -> None:
        """After a crash: what is there is made durable, and temporary files of the dead are removed.

        A killed predecessor may have been between a rename and the sync of its folder; whoever finds the file relies
        on it. Temporary files of the inbox may belong to a client that lives.
        """
        for folder in (self.path, self.blobs, *self.blobs.glob("??"), self.views):
            for leftover in folder.glob(".*.tmp"):
                durable.unlink(leftover)
            durable.sync_directory(folder)
        for leftover in (*self.path.glob(f".*{REMOVED}"), *self.path.glob(f"*/.*{REMOVED}")):
            foreign_trees.remove(leftover)

    @contextmanager
    def owned(self, wait_s: float = 5.0) -> Iterator[int]:
        """Hold the run's lock; yields the descriptor, for children that must keep it while they write.

        Raises LockHeld naming the holder. A dying process group may hold the lock for a moment, hence the wait.
        """
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + wait_s
        try:
            while not _try_lock(descriptor):
                if time.monotonic() >= deadline:
                    holder = lock_holder(self) or {}
                    raise LockHeld(
                        f"another engine works on this run (pid {holder.get('pid', '?')})",
                        where=str(self.path),
                        fix=f"vibeserve attach {self.name}, or vibeserve stop {self.name}",
                    )
                time.sleep(0.05)
            owner = {"pid": os.getpid(), "since": time.time(), "host": socket.gethostname()}
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(owner).encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    # ---- inbox --------------------------------------------------------------------------------------------------

    def post(self, command: Command) -> str:
        """Put a command into the inbox; returns its id. The engine answers it in the journal."""
        data = command.model_dump_json().encode()
        self.inbox.mkdir(mode=0o700, exist_ok=True)
        durable.write_atomic(self.inbox / f"{command.id}.json", data)
        return command.id

    def waiting_commands(self) -> list[tuple[Path, AnyCommand | str]]:
        """Commands in the order they arrived; a file that is no command comes as the reason why not."""
        files = [path for path in self.inbox.glob("*.json") if not path.name.startswith(".")]
        return [(path, _read_command(path)) for path in sorted(files, key=_arrival)]

    def remove_command(self, path: Path) -> None:
        """Answered, whatever it was: a folder in the place of a command goes too."""
        if path.is_dir() and not path.is_symlink():
            foreign_trees.remove(path)
        else:
            durable.unlink(path)

    # ---- blobs --------------------------------------------------------------------------------------------------

    def put_blob(self, data: bytes) -> str:
        return durable.put_blob(self.blobs, data)

    def get_blob(self, digest: str) -> bytes:
        return durable.get_blob(self.blobs, digest)


def lock_holder(run: RunDir) -> dict[str, object] | None:
    """Who holds the run's lock right now, or None when it is free."""
    try:
        descriptor = os.open(run.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _try_lock(descriptor):
            return None
        text = os.pread(descriptor, 4096, 0)
        try:
            holder = json.loads(text)
        except ValueError:  # the holder is between truncating and writing
            return {}
        return holder if isinstance(holder, dict) else {}
    finally:
        os.close(descriptor)


def runs_root() -> Path:
    """Where runs live unless `--runs-dir` says otherwise."""
    return Path(platformdirs.user_data_dir("vibeserve")) / "runs"


def find_run(name: str, root: Path) -> RunDir:
    """The run called `name`: a path, an id, a unique beginning of one, or `latest`."""
    as_path = Path(name)
    if (as_path / "journal.jsonl").exists():
        return RunDir(as_path.resolve())
    known = sorted((path.parent for path in root.glob("*/journal.jsonl")), key=lambda path: path.stat().st_mtime)
    if name == "latest" and known:
        return RunDir(max(known, key=lambda path: (path / "journal.jsonl").stat().st_mtime))
    matches = [path for path in known if path.name == name] or [path for path in known if path.name.startswith(name)]
    if len(matches) == 1:
        return RunDir(matches[0])
    if matches:
        raise RunError(f"{name!r} fits {len(matches)} runs", fix=", ".join(path.name for path in matches[:4]))
    if not known:
        raise RunError(f"there is no run in {root}", fix="start one: vibeserve run")
    hint = did_you_mean(name, [path.name for path in known])
    raise RunError(f"no run is called {name!r}{hint}", where=str(root), fix="vibeserve ls")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _arrival(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name


def _read_command(path: Path) -> AnyCommand | str:
    """The command in a file that anybody may have put there: nothing is followed, waited for or read without end."""
    try:
        data = json.loads(_read_plain_file(path))
        return parse_command(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc'])) or 'command'}: {first['msg']}"[:MAX_REASON]
    except (OSError, ValueError, RecursionError) as error:
        return f"not a JSON command: {error}"[:MAX_REASON]


def _read_plain_file(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        details = os.fstat(descriptor)
        if not stat.S_ISREG(details.st_mode):
            raise ValueError("not a plain file")
        if details.st_uid != os.geteuid():
            raise ValueError("written by another user")
        data = file.read(MAX_COMMAND_BYTES + 1)
    if len(data) > MAX_COMMAND_BYTES:
        raise ValueError("larger than 1 MiB")
    return data
