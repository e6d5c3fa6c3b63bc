"""The git store of a run: every attempt's tree, the rounds, and the difference between any two of them.

The store is a private bare repository that no candidate ever sees; workspaces and checkouts carry no `.git`. Git is
driven through plumbing only, with an environment and options built here, because a candidate's tree may hold hooks,
filters, attributes, nested repositories or ignore rules that would run code or hide files from an ordinary git.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from vibeserve_tui import foreign_trees
from vibeserve_tui.errors import EnvironmentFault, WorkspaceError
from vibeserve_tui.safe_text import clean
from vibeserve_tui.state import durable, redaction

MAX_FILES = 5000
MAX_FILE_BYTES = 10 * 2**20
MAX_TREE_BYTES = 100 * 2**20
ZERO = "0" * 40
OLD_S = 3600
LONGEST_S = 300
"""A git that takes longer is killed; an ordinary one takes milliseconds."""

_OPTIONS = tuple(
    word
    for setting in (
        "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null",
        "core.excludesFile=/dev/null", "core.autocrlf=false", "core.symlinks=true",
        "core.fsync=committed,loose-object,index,reference", "gc.auto=0", "maintenance.auto=false",
        "commit.gpgSign=false", "tag.gpgSign=false", "protocol.allow=never", "submodule.recurse=false",
        "core.quotePath=false", "core.protectHFS=true", "core.protectNTFS=true",
    )
    for word in ("-c", setting)
)  # fmt: skip
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1", "GIT_NO_REPLACE_OBJECTS": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ASKPASS": "/bin/false", "GIT_EDITOR": "/bin/false", "HOME": "/nonexistent",
    "XDG_CONFIG_HOME": "/nonexistent", "GIT_AUTHOR_NAME": "VibeServe", "GIT_AUTHOR_EMAIL": "engine@vibeserve.invalid",
    "GIT_COMMITTER_NAME": "VibeServe", "GIT_COMMITTER_EMAIL": "engine@vibeserve.invalid", "LC_ALL": "C",
}  # fmt: skip
# Outranks a workspace's own .gitattributes, which could hide a change from a diff or alter bytes on checkout.
_ATTRIBUTES = b"* -text -filter -ident -working-tree-encoding !diff !merge -export-ignore -export-subst\n"


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    tree: str


@dataclass(frozen=True, slots=True)
class DiffSize:
    files: int
    added: int
    removed: int


class Store:
    """`RUN/store.git`. Opening it creates it; every method raises WorkspaceError when git refuses."""

    def __init__(self, path: Path, *, lock: int | None = None) -> None:
        """`lock`: descriptor of the run's lock. Git's processes inherit it, so that one which outlives a killed engine
        is waited for by the next.
        """
        self._path = path
        self._lock = lock
        self._index = path / "scratch.index"
        self._settled: dict[Path, int] = {}
        _load_git()  # here, where no other thread looks at the environment yet
        if not (path / "HEAD").exists():
            self._create()

    def _create(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        # Init refuses a GIT_DIR beside a GIT_WORK_TREE, so this one call goes without either.
        _execute(fresh.parent, ["init", "-q", "--bare", "--template=", str(fresh)], {})
        (fresh / "info").mkdir(exist_ok=True)
        durable.write_atomic(fresh / "info" / "attributes", _ATTRIBUTES)
        durable.sync_tree(fresh)
        durable.rename(fresh, self._path)

    def remove_stale_locks(self) -> int:
        """A killed git leaves `*.lock` behind; safe to remove because only the run's owner calls this. Returns how many."""
        locks = list(self._path.rglob("*.lock"))
        for lock in locks:
            lock.unlink(missing_ok=True)
        for index in self._path.glob("checkout-*.index"):  # a young one may be an export's that goes on beside us
            if time.time() - index.stat().st_mtime > OLD_S:
                index.unlink(missing_ok=True)
        return len(locks)

    # ---- writing ------------------------------------------------------------------------------------------------

    def snapshot(self, folder: Path, *, ref: str, parent: str | None, message: str, when: int) -> Commit:
        """Commit every file below `folder` on `ref`. Same tree, parent, message and time give the same commit again."""
        tree = self.write_tree(folder)
        dates = {"GIT_AUTHOR_DATE": f"{when} +0000", "GIT_COMMITTER_DATE": f"{when} +0000"}
        parents = ["-p", parent] if parent else []
        sha = self._git(["commit-tree", tree, *parents, "-F", self._scratch(_sayable(message))], extra=dates)
        self.set_ref(ref, sha)
        return Commit(sha, tree)

    def write_tree(self, folder: Path) -> str:
        """The folder's content as a tree that nothing refers to yet.

        It is copied first: whoever still works there could put a link in the place of a file that was looked at.
        """
        staged = self._path.with_suffix(".staged")
        foreign_trees.remove(staged)
        try:
            foreign_trees.copy(folder, staged, most=2 * MAX_TREE_BYTES)
            check_tree(staged, shown_as=folder)
            self._index.unlink(missing_ok=True)
            self._git(["read-tree", "--empty"], staged)
            self._git(["add", "-A", "-f", "--", "."], staged)
            return self._git(["write-tree"], staged)
        except OSError as error:
            if durable.fault_of(error, folder) is not None:
                raise
            raise WorkspaceError(f"cannot be kept: {error.strerror}", where=str(error.filename or folder)) from error
        finally:
            foreign_trees.remove(staged)

    def set_ref(self, ref: str, sha: str) -> None:
        """Point `refs/…` at a commit; pointing it where it already points is no change."""
        old = self.ref(ref)
        if old != sha:
            self._settle("objects")
            durable.failpoint("ref.before")
            self._git(["update-ref", f"refs/{ref}", sha, old or ZERO])
            durable.failpoint("ref.after")
        self._settle("refs")

    def _settle(self, part: str) -> None:
        """Make names durable where they changed: git syncs the files that it writes, not the folders they are in."""
        root = self._path / part
        for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
            changed = folder.stat().st_mtime_ns
            if self._settled.get(folder) != changed:
                durable.sync_directory(folder)
                self._settled[folder] = changed

    def note(self, sha: str, text: str) -> None:
        """Attach the round's figures to its commit (`git notes --ref=metrics show`); twice the same is no change.

        Made by hand, because `git notes` moves its reference before the names of the new objects are durable.
        """
        blob = self._git(["hash-object", "-w", "--no-filters", self._scratch(_sayable(text))])
        entry, last = f"100644 blob {blob}\t{sha}", self.ref("notes/metrics")
        entries = self._git(["ls-tree", last]).splitlines() if last else []
        if entry not in entries:
            others = [line for line in entries if not line.endswith(sha)]
            tree = self._git(["mktree"], stdin="".join(f"{line}\n" for line in [*others, entry]))
            parents = ["-p", last] if last else []
            self.set_ref("notes/metrics", self._git(["commit-tree", tree, *parents, "-m", "metrics"]))

    def _scratch(self, text: str) -> str:
        """A file with the text, which may be larger than an argument and hold what an argument cannot."""
        file = self._path / "message"
        file.write_text(text, "utf-8")
        return str(file)

    # ---- reading ------------------------------------------------------------------------------------------------

    def ref(self, ref: str) -> str | None:
        out = self._git(["for-each-ref", "--format=%(objectname)", f"refs/{ref}"])
        return out or None

    def refs(self, folder: str) -> dict[str, str]:
        """All references below `refs/FOLDER`, with their commits."""
        out = self._git(["for-each-ref", "--format=%(refname) %(objectname)", f"refs/{folder}/"])
        return {name: sha for name, _, sha in (line.partition(" ") for line in out.splitlines())}

    def tree_of(self, sha: str) -> str:
        return self._git(["rev-parse", "--verify", f"{sha}^{{tree}}"])

    def checkout(self, sha: str, destination: Path) -> None:
        """Write the commit's files into a fresh directory; one that exists is emptied first. May run beside another one."""
        foreign_trees.remove(destination)
        destination.mkdir(parents=True)
        index = {"GIT_INDEX_FILE": str(self._path / f"checkout-{secrets.token_hex(8)}.index")}
        try:
            self._git(["read-tree", sha], destination, extra=index)
            self._git(["checkout-index", "-a", "-f", f"--prefix={destination}/"], destination, extra=index)
        finally:
            Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)

    def diff(self, older: str, newer: str, *, beside: Path | None = None) -> str:
        """Unified diff between two commits, as git prints it; commits of the store `beside` count as our own."""
        options = [
            "-r",
            "-p",
            "-M",
            "--no-ext-diff",
            "--no-textconv",
            "--no-color",
            "--src-prefix=a/",
            "--dst-prefix=b/",
        ]
        extra = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(beside / "objects")} if beside else None
        return self._git(["diff-tree", *options, older, newer], strip=False, extra=extra)

    def diff_size(self, older: str, newer: str) -> DiffSize:
        rows = [row.split("\t") for row in self._git(["diff-tree", "-r", "--numstat", older, newer]).splitlines()]
        count = [(int(added), int(removed)) if added.isdigit() else (0, 0) for added, removed, *_ in rows]
        return DiffSize(len(rows), sum(added for added, _ in count), sum(removed for _, removed in count))

    def read_file(self, sha: str, path: str) -> str:
        return self._git(["cat-file", "blob", f"{sha}:{path}"], strip=False)

    def files(self, sha: str) -> list[str]:
        return self._git(["ls-tree", "-r", "-z", "--name-only", sha]).split("\0")[:-1]

    def verify(self) -> None:
        """Raises WorkspaceError when a commit, tree or file of the history is missing or cannot be read."""
        self._git(["fsck", "--connectivity-only", "--no-dangling", "--no-progress"])

    def clone_to(self, destination: Path) -> None:
        """A plain copy of the history, for people: `git log` works in it."""
        shutil.copytree(self._path, destination, ignore=shutil.ignore_patterns("*.lock", "*.index"))

    def _git(
        self,
        arguments: list[str],
        work_tree: Path | None = None,
        *,
        extra: dict[str, str] | None = None,
        strip: bool = True,
        stdin: str = "",
    ) -> str:
        environment = {"GIT_DIR": str(self._path), "GIT_INDEX_FILE": str(self._index), **(extra or {})}
        if work_tree is not None:
            environment["GIT_WORK_TREE"] = str(work_tree)
        given = self._scratch(stdin) if stdin else None
        out = _execute(work_tree or self._path, arguments, environment, lock=self._lock, stdin=given)
        return out.strip("\n") if strip else out


def check_tree(folder: Path, *, shown_as: Path) -> None:
    """Refuse what git cannot hold faithfully or what would point out of the tree. Raises WorkspaceError."""
    files = total = 0
    for root, directories, names in os.walk(folder):
        shown = shown_as / Path(root).relative_to(folder)
        for name in directories:
            if name.lower() == ".git" or (Path(root) / name).is_symlink():
                raise WorkspaceError("a nested repository or a linked folder is not allowed", where=str(shown / name))
        for name in names:
            size = (Path(root) / name).lstat().st_size
            if fault := _fault_of(Path(root) / name, size):
                raise WorkspaceError(fault, where=str(shown / name))
            files, total = files + 1, total + size
    if files > MAX_FILES or total > MAX_TREE_BYTES:
        raise WorkspaceError(f"{files} files, {total >> 20} MiB: more than a tree may hold", where=str(shown_as))
    if not files:
        raise WorkspaceError("the tree is empty", where=str(shown_as))


def _fault_of(path: Path, size: int) -> str:
    if not stat.S_ISREG(path.lstat().st_mode) or path.name.lower() == ".git":
        return "only plain files are allowed: no links, pipes or devices"
    if size > MAX_FILE_BYTES:
        return f"{size >> 20} MiB is more than a file may have (10 MiB)"
    return "holds one of your keys" if redaction.holds_secret(path.read_bytes()) else ""


def _sayable(text: str) -> str:
    """What an agent wrote, as it may stand in the history: no control characters, no secrets."""
    return redaction.redact(clean(text))


def forget_git_variables() -> None:
    """Drop every GIT_* variable of this process: GitPython reads some itself and hands all of them to git."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]


def _execute(
    folder: Path,
    arguments: list[str],
    environment: dict[str, str],
    *,
    lock: int | None = None,
    stdin: str | None = None,
) -> str:
    """Run git to its end and return what it printed; `lock` is a descriptor that it inherits, `stdin` a file that it reads."""
    git = _load_git()
    command = git.Git(str(folder))
    # GitPython hands all of its process's variables to git and cannot leave one out, but it can empty it.
    emptied = dict.fromkeys(redaction.secret_names(os.environ), "")
    command.update_environment(**{**emptied, **_ENVIRONMENT, **environment})
    inherited = (lock,) if lock is not None else ()
    try:
        with open(stdin or os.devnull, "rb") as given:
            out = command.execute(
                [str(_program()), *_OPTIONS, *arguments],
                istream=given,
                strip_newline_in_stdout=False,
                stdout_as_string=False,
                kill_after_timeout=LONGEST_S,
                pass_fds=inherited,
            )
    except git.exc.GitCommandNotFound as error:
        raise EnvironmentFault("git is missing", fix="install git 2.30 or newer") from error
    except git.exc.GitCommandError as error:
        lines = str(error.stderr).strip(" '\n").splitlines() or ["no message"]
        if any("No space left on device" in line or "Disk quota exceeded" in line for line in lines):
            raise OSError(errno.ENOSPC, "git found no room on the disk", str(folder)) from error
        raise WorkspaceError(f"git {arguments[0]} failed: {lines[-1]}", where=str(folder)) from error
    return bytes(out).decode("utf-8", "replace")


def _program() -> Path:
    """The git of this machine, by its full name: a PATH with "." in it must not find one in a candidate's tree."""
    places = [place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if Path(place).is_absolute()]
    found = shutil.which("git", path=os.pathsep.join(places))
    if found is None:
        raise EnvironmentFault("git is missing", fix="install git 2.30 or newer")
    return Path(found)


def _load_git() -> ModuleType:
    """GitPython, loaded on first use: clients that never look at a diff do not pay for it."""
    _program()
    forget_git_variables()
    # Loading it asks git for its version, with all variables of this process.
    secret = [] if "git" in sys.modules else redaction.secret_names(os.environ)
    hidden = {name: os.environ.pop(name) for name in secret}
    try:
        import git
        import git.exc
    finally:
        os.environ.update(hidden)
    return git
