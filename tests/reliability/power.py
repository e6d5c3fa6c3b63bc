"""A disk that forgets: every durable write of a run is recorded, and any state a power cut may leave can be made.

The rules are POSIX' own and no kinder. What is written lives in memory until its file is synced; a name (new, renamed or
removed) lives in memory until its folder is synced. At a cut, what was synced is there, and of the rest any part may be.
Git is taken at its word, checked elsewhere, that it syncs each object and reference which it writes; the names of those
files are as volatile as all others.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vibeserve_tui.state import durable, workspace


@dataclass(frozen=True)
class Written:
    """Bytes at the end of a file; `file` is its inode's number."""

    file: int
    data: bytes


@dataclass(frozen=True)
class Cut:
    file: int
    size: int


@dataclass(frozen=True)
class Named:
    """A name that came to stand for a file, or for nothing."""

    path: str
    file: int | None


@dataclass(frozen=True)
class Made:
    """A new folder: what lies in it is out of reach until its own name is safe."""

    path: str


@dataclass(frozen=True)
class Moved:
    source: str
    path: str


Change = Written | Cut | Named | Made | Moved
NAMES = (Named, Made, Moved)
Real = Callable[..., Any]


@dataclass
class Image:
    """Files by name, as one moment knows them."""

    names: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=lambda: {"."})
    contents: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> Image:
        return Image(dict(self.names), set(self.folders), dict(self.contents))

    def apply(self, change: Change) -> None:
        match change:
            case Written(file, data):
                self.contents[file] = self.contents.get(file, b"") + data
            case Cut(file, size):
                self.contents[file] = self.contents.get(file, b"")[:size]
            case Named(path, None):
                self.names.pop(path, None)
            case Named(path, int(file)):
                self.names[path] = file
            case Made(path):
                self.folders.add(path)
            case Moved(source, path):
                self._move(source, path)

    def _move(self, source: str, path: str) -> None:
        for name in [name for name in self.names if _is_at(name, source)]:
            self.names[path + name[len(source) :]] = self.names.pop(name)
        for folder in [folder for folder in self.folders if _is_at(folder, source)]:
            self.folders.remove(folder)
            self.folders.add(path + folder[len(source) :])

    def files(self) -> dict[str, bytes]:
        """What can be reached from the root; folders end with a stroke."""
        found = {f"{path}/": b"" for path in self.folders if self._is_reachable(path)}
        for path, file in self.names.items():
            if self._is_reachable(path):
                found[path] = self.contents.get(file, b"")
        return found

    def _is_reachable(self, path: str) -> bool:
        return self.folders.issuperset(_above(path))


@dataclass
class Disk:
    """Stands between `durable` and the real disk below `root`; call `install` once, then run something."""

    root: Path
    synced: Image = field(default_factory=Image)
    pending: list[Change] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    acknowledged: int = 0
    forgets: frozenset[str] = frozenset()
    """Syncs that this disk answers and does not do, by their function's name: a test of the tests."""
    _numbers: dict[str, int] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=lambda: {"."})
    _git_saw: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    _next: int = 0

    def install(self, patch: Callable[[object, str, object], None]) -> None:
        """`patch(object, name, value)` is monkeypatch.setattr."""
        for name in ("append", "sync", "truncate", "sync_directory", "unlink", "rename", "make_directory"):
            patch(durable, name, functools.partial(getattr(self, f"_{name}"), getattr(durable, name)))
        patch(workspace, "_execute", functools.partial(self._git, workspace._execute))

    def _append(self, really: Real, descriptor: int, data: bytes, name: str = "append") -> None:
        file = self._file_at(_path_of(descriptor))
        really(descriptor, data, name)
        self._record(Written(file, data))

    def _sync(self, really: Real, descriptor: int, name: str = "sync") -> None:
        really(descriptor, name)
        file = self._numbers.get(self._inside(_path_of(descriptor)) or "")
        if file is not None and "sync" not in self.forgets:
            self._settle(lambda change: isinstance(change, Written | Cut) and change.file == file)

    def _truncate(self, really: Real, descriptor: int, size: int) -> None:
        really(descriptor, size)
        self._record(Cut(self._file_at(_path_of(descriptor)), size))

    def _sync_directory(self, really: Real, path: Path) -> None:
        really(path)
        folder = self._inside(path)
        if folder is None:
            return
        for entry in path.iterdir():  # a file that was opened with O_CREAT and not written to yet
            if entry.is_file() and ".git" not in str(folder):
                self._file_at(entry)
        if "sync_directory" not in self.forgets:
            self._settle(lambda change: isinstance(change, NAMES) and str(Path(change.path).parent) == folder)

    def _unlink(self, really: Real, path: Path) -> None:
        really(path)
        if (name := self._inside(path)) in self._numbers:
            del self._numbers[name]
            self._record(Named(name, None))

    def _make_directory(self, really: Real, path: Path) -> None:
        fresh = not path.is_dir()
        if fresh and self._inside(path) is not None:
            self._know_folder(path)
        really(path)

    def _rename(self, really: Real, source: Path, destination: Path) -> None:
        old, new = self._inside(source), self._inside(destination)
        source.replace(destination)
        for name in [name for name in self._numbers if _is_at(name, old)]:
            self._numbers[new + name[len(old) :]] = self._numbers.pop(name)
        for name in [name for name in self._git_saw if _is_at(name, old)]:
            self._git_saw[new + name[len(old) :]] = self._git_saw.pop(name)
        for folder in [folder for folder in self._folders if _is_at(folder, old)]:
            self._folders.add(new + folder[len(old) :])
        self._record(Moved(old, new))
        durable.sync_directory(destination.parent)

    def _git(self, really: Real, *arguments: object, **more: object) -> str:
        out: str = really(*arguments, **more)
        self._see_git()
        return out

    def acknowledge(self, seq: int) -> None:
        """`emit` returned: from here on the record must survive."""
        self.acknowledged = seq
        self.moments.append(Moment(self.synced.copy(), tuple(self.pending), seq))

    # ---- recording ----------------------------------------------------------------------------------------------

    def _inside(self, path: Path) -> str | None:
        full = Path(os.path.abspath(path))  # noqa: PTH100 - what is gone cannot be resolved
        return str(full.relative_to(self.root)) if full.is_relative_to(self.root) else None

    def _file_at(self, path: Path) -> int:
        name = self._inside(path)
        assert name is not None, f"{path} is written durably, but not inside the run"
        is_new = name.endswith(".tmp") and path.stat().st_size == 0
        if name not in self._numbers or is_new:
            self._know_folder(path.parent)
            self._next += 1
            self._numbers[name] = self._next
            self._record(Named(name, self._next))
        return self._numbers[name]

    def _know_folder(self, path: Path) -> None:
        name = self._inside(path)
        if name is not None and name not in self._folders:
            self._know_folder(path.parent)
            self._folders.add(name)
            self._record(Made(name))

    def _record(self, change: Change) -> None:
        self.pending.append(change)
        self.moments.append(Moment(self.synced.copy(), tuple(self.pending), self.acknowledged))

    def _settle(self, is_settled: Callable[[Change], bool]) -> None:
        for change in self.pending:
            if is_settled(change):
                self.synced.apply(change)
        self.pending = [change for change in self.pending if not is_settled(change)]

    def _see_git(self) -> None:
        """What git wrote since the last look: it syncs objects and references itself, but never a folder."""
        for path in sorted(self.root.glob("store.git*/**/*")):
            name = str(path.relative_to(self.root))
            if path.is_dir():
                self._know_folder(path)
            if not path.is_file() or path.suffix in (".index", ".lock") or path.name == "message":
                continue  # scratch files, written anew each time
            details = path.stat()
            seen = (details.st_ino, details.st_mtime_ns, details.st_size)
            before, self._git_saw[name] = self._git_saw.get(name), seen
            if before == seen or (before is None and name in self._numbers):
                continue  # nothing new, or not git's: the store itself wrote it
            self._know_folder(path.parent)
            self._next += 1
            file = self._numbers[name] = self._next
            self._record(Written(file, path.read_bytes()))
            if "/objects/" in name or "/refs/" in name:
                self._settle(lambda change, file=file: isinstance(change, Written) and change.file == file)
            self._record(Named(name, file))


@dataclass(frozen=True)
class Moment:
    """Just after a change: what is safe, what is not, and how many records were acknowledged by then."""

    synced: Image
    pending: tuple[Change, ...]
    acknowledged: int

    def worst(self) -> dict[str, bytes]:
        """Nothing of what is pending survives."""
        return self._with(())

    def states(self) -> Iterator[dict[str, bytes]]:
        """Files by name after a cut right here: nothing of what is pending survives, all of it, any first part of it,
        only one change, all but one, or the first ones with a write torn at their end.
        """
        for count in range(len(self.pending) + 1):
            yield self._with(self.pending[:count])
        for number, change in enumerate(self.pending):
            yield self._with((change,))
            yield self._with(self.pending[:number] + self.pending[number + 1 :])
        for at, change in enumerate(self.pending):
            if isinstance(change, Written) and len(change.data) > 1:
                half = len(change.data) // 2
                yield self._with((*self.pending[:at], Written(change.file, change.data[:half])))
                holed = bytes(half) + change.data[half:]
                yield self._with((*self.pending[:at], Written(change.file, holed)))

    def _with(self, changes: tuple[Change, ...]) -> dict[str, bytes]:
        image = self.synced.copy()
        for change in changes:
            image.apply(change)
        return image.files()


def _is_at(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


@functools.cache
def _above(path: str) -> frozenset[str]:
    return frozenset(map(str, Path(path).parents))


def write_out(files: dict[str, bytes], folder: Path) -> None:
    for name in sorted(files):
        if name.endswith("/"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        else:
            (folder / name).write_bytes(files[name])


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
