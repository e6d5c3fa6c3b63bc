"""What a candidate's tree, a user's settings or an environment may plant to make git run or hide something.

Each attack meets every operation of the store. All of them have to succeed, nothing planted may run, and what is judged
has to be what was committed, byte for byte.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.state import workspace
from vibeserve_tui.state.workspace import Store


@dataclass(frozen=True)
class Scene:
    tree: Path
    home: Path
    mark: Path
    """Exists once something planted ran."""
    environment: dict[str, str]

    @property
    def run(self) -> str:
        """A program that leaves its mark, and then does what git expects of most helpers."""
        return str(self.home / "planted")

    def settings(self, text: str) -> None:
        (self.home / ".gitconfig").write_text(text)

    def attributes(self, text: str) -> None:
        (self.tree / ".gitattributes").write_text(text)


Attack = Callable[[Scene], None]


def hooks_in_the_tree(scene: Scene) -> None:
    for name in ("pre-commit", "post-commit", "post-checkout", "reference-transaction", "post-index-change"):
        (scene.tree / "hooks").mkdir(exist_ok=True)
        hook = scene.tree / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {scene.mark}\n")
        hook.chmod(0o755)
    scene.settings("[core]\n hooksPath = hooks\n")


def hooks_of_the_user(scene: Scene) -> None:
    hooks_in_the_tree(scene)
    scene.settings(f"[core]\n hooksPath = {scene.tree / 'hooks'}\n")


def a_file_system_monitor(scene: Scene) -> None:
    scene.settings(f"[core]\n fsmonitor = {scene.run}\n")


def filters(scene: Scene) -> None:
    scene.attributes("* filter=evil\n")
    scene.settings(f'[filter "evil"]\n clean = {scene.run}\n smudge = {scene.run}\n required = true\n')


def a_filter_process(scene: Scene) -> None:
    scene.attributes("* filter=evil\n")
    scene.settings(f'[filter "evil"]\n process = {scene.run}\n')


def a_text_converter(scene: Scene) -> None:
    scene.attributes("* diff=evil\n")
    scene.settings(f'[diff "evil"]\n textconv = {scene.run}\n')


def a_diff_command(scene: Scene) -> None:
    scene.attributes("* diff=evil\n")
    scene.settings(f'[diff]\n external = {scene.run}\n[diff "evil"]\n command = {scene.run}\n')


def a_diff_program_in_the_environment(scene: Scene) -> None:
    scene.environment["GIT_EXTERNAL_DIFF"] = scene.run


def a_merge_driver(scene: Scene) -> None:
    scene.attributes("* merge=evil\n")
    scene.settings(f'[merge "evil"]\n driver = {scene.run}\n')


def signing(scene: Scene) -> None:
    scene.settings(f"[commit]\n gpgSign = true\n[tag]\n gpgSign = true\n[gpg]\n program = {scene.run}\n")


def an_included_file(scene: Scene) -> None:
    (scene.tree / "more").write_text(f"[core]\n fsmonitor = {scene.run}\n hooksPath = hooks\n")
    scene.settings(f"[include]\n path = {scene.tree / 'more'}\n")


def settings_in_the_xdg_folder(scene: Scene) -> None:
    folder = scene.home / ".config" / "git"
    folder.mkdir(parents=True)
    (folder / "config").write_text(f"[core]\n fsmonitor = {scene.run}\n")
    (folder / "attributes").write_text("* -diff filter=evil\n")
    (folder / "ignore").write_text("*\n")
    scene.environment["XDG_CONFIG_HOME"] = str(scene.home / ".config")


def settings_in_variables(scene: Scene) -> None:
    scene.environment.update(
        {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor", "GIT_CONFIG_VALUE_0": scene.run}
    )
    scene.environment["GIT_CONFIG_PARAMETERS"] = f"'core.fsmonitor={scene.run}'"


def another_repository_in_variables(scene: Scene) -> None:
    for name in ("GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_NAMESPACE"):
        scene.environment[name] = str(scene.home / "elsewhere")


def other_objects_in_variables(scene: Scene) -> None:
    scene.environment["GIT_OBJECT_DIRECTORY"] = str(scene.home / "objects")
    scene.environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(scene.home / "objects")


def traces_and_readings_in_variables(scene: Scene) -> None:
    for name in ("GIT_TRACE", "GIT_TRACE2", "GIT_TRACE2_EVENT", "GIT_TRACE_PERFORMANCE", "GIT_TRACE_SETUP"):
        scene.environment[name] = str(scene.mark)
    scene.environment.update(
        GIT_GRAFT_FILE=str(scene.home / "grafts"), GIT_SHALLOW_FILE=str(scene.home / "shallow"), GIT_DEFAULT_HASH="sha256",
        GIT_REPLACE_REF_BASE="refs/heads/", GIT_ATTR_SOURCE="HEAD", GIT_LITERAL_PATHSPECS="1", GIT_ICASE_PATHSPECS="1",
        GIT_DIFF_OPTS="--unified=0", GIT_TEST_ASSUME_DIFFERENT_OWNER="1", GIT_REDIRECT_STDOUT=str(scene.mark),
    )  # fmt: skip


def a_tree_that_looks_like_a_repository(scene: Scene) -> None:
    for folder in ("objects/info", "refs/heads", "refs/replace", "info", "hooks"):
        (scene.tree / folder).mkdir(parents=True)
    (scene.tree / "HEAD").write_text("ref: refs/heads/main\n")
    (scene.tree / "config").write_text(f"[core]\n bare = true\n fsmonitor = {scene.run}\n hooksPath = {scene.home}\n")
    (scene.tree / "commondir").write_text(f"{scene.home}\n")
    (scene.tree / "objects" / "info" / "alternates").write_text(f"{scene.home}\n")
    (scene.tree / "info" / "attributes").write_text("* filter=evil -diff export-ignore\n")
    (scene.tree / "info" / "grafts").write_text("0" * 40 + "\n")
    (scene.tree / "info" / "exclude").write_text("*\n")
    (scene.tree / "packed-refs").write_text(f"{'0' * 40} refs/heads/main\n")
    (scene.tree / "index").write_bytes(b"DIRC\0\0\0\2\0\0\0\0link" + bytes(24))
    (scene.tree / "index.lock").touch()


def helpers_in_variables(scene: Scene) -> None:
    for name in ("GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "GIT_PAGER", "GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND",
                 "GIT_PROXY_COMMAND", "EDITOR", "VISUAL", "PAGER", "SSH_ASKPASS"):  # fmt: skip
        scene.environment[name] = scene.run
    scene.environment["GIT_EXEC_PATH"] = str(scene.home)
    (scene.home / "git-notes").write_text(f"#!/bin/sh\ntouch {scene.mark}\n")
    (scene.home / "git-notes").chmod(0o755)


def helpers_in_settings(scene: Scene) -> None:
    scene.settings(
        f"[core]\n editor = {scene.run}\n pager = {scene.run}\n sshCommand = {scene.run}\n askPass = {scene.run}\n"
        f" alternateRefsCommand = {scene.run}\n[credential]\n helper = {scene.run}\n[uploadpack]\n"
        f" packObjectsHook = {scene.run}\n[pager]\n diff-tree = {scene.run}\n"
    )


def aliases(scene: Scene) -> None:
    names = ("add", "read-tree", "write-tree", "commit-tree", "update-ref", "notes", "diff-tree", "ls-tree", "cat-file")
    scene.settings("[alias]\n" + "".join(f' {name} = "!{scene.run}"\n' for name in names))


def a_git_in_the_tree(scene: Scene) -> None:
    program = scene.tree / "git"
    program.write_text(f"#!/bin/sh\ntouch {scene.mark}\n")
    program.chmod(0o755)
    scene.environment["PATH"] = f".:{scene.tree}/../tree:{os.environ['PATH']}"


def ignored_files(scene: Scene) -> None:
    (scene.tree / ".gitignore").write_text("*\n!.gitignore\n")
    (scene.tree / "server" / ".gitignore").write_text("*.py\n")
    scene.settings(f"[core]\n excludesFile = {scene.tree / '.gitignore'}\n")


def attributes_that_hide_and_alter(scene: Scene) -> None:
    scene.attributes("*.py -diff text eol=crlf ident export-ignore export-subst working-tree-encoding=UTF-16\n")
    (scene.tree / "server" / ".gitattributes").write_text("* binary\n")
    (scene.tree / "server" / "text.py").write_bytes(b"a = '$Id$ $Format:%H$'\r\nb = 1\n\xff")
    scene.settings("[core]\n autocrlf = true\n safecrlf = true\n")


def odd_names(scene: Scene) -> None:
    for name in ("-rf", "--upload-pack=x", ":(exclude)server", "*", "a\nb", "tab\there", "\x1b[2J", "ünïcode", "a b"):
        (scene.tree / name).write_text(name)
    (scene.tree / os.fsdecode(b"latin-\xe9")).write_text("x")


def submodules(scene: Scene) -> None:
    (scene.tree / ".gitmodules").write_text(
        f'[submodule "a"]\n path = server\n url = ext::sh -c {scene.run}\n update = !{scene.run}\n'
    )
    scene.settings("[submodule]\n recurse = true\n[protocol]\n allow = always\n")


def a_sparse_checkout(scene: Scene) -> None:
    scene.settings("[core]\n sparseCheckout = true\n sparseCheckoutCone = true\n untrackedCache = true\n")
    (scene.tree / "info").mkdir()
    (scene.tree / "info" / "sparse-checkout").write_text("/nothing\n")


def other_modes(scene: Scene) -> None:
    (scene.tree / "server" / "tool.sh").write_text("#!/bin/sh\n")
    (scene.tree / "server" / "tool.sh").chmod(0o755)
    scene.settings("[core]\n fileMode = false\n symlinks = false\n bare = true\n worktree = /\n")


HARMLESS: tuple[Attack, ...] = (
    hooks_in_the_tree, hooks_of_the_user, a_file_system_monitor, filters, a_filter_process, a_text_converter,
    a_diff_command, a_diff_program_in_the_environment, a_merge_driver, signing, an_included_file,
    settings_in_the_xdg_folder, settings_in_variables, another_repository_in_variables, other_objects_in_variables,
    traces_and_readings_in_variables, a_tree_that_looks_like_a_repository, helpers_in_variables, helpers_in_settings, aliases, a_git_in_the_tree, ignored_files,
    attributes_that_hide_and_alter, odd_names, submodules, a_sparse_checkout, other_modes,
)  # fmt: skip


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "tree", tmp_path / "home", tmp_path / "ran", {"HOME": str(tmp_path / "home")})
    (scene.tree / "server").mkdir(parents=True)
    (scene.tree / "server" / "engine.py").write_text("speed = 1\n")
    scene.home.mkdir()
    planted = scene.home / "planted"
    planted.write_text(f"#!/bin/sh\ntouch {scene.mark}\ncat 2>/dev/null\n")
    planted.chmod(0o755)
    return scene


def contents(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file with its bytes and whether it may be run."""
    return {
        os.fsencode(path.relative_to(folder)).hex(): (path.read_bytes(), os.access(path, os.X_OK))
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("attack", HARMLESS, ids=lambda attack: attack.__name__)
def test_nothing_planted_runs_or_hides(attack: Attack, scene: Scene, tmp_path: Path, monkeypatch) -> None:
    attack(scene)
    for name, value in scene.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(scene.tree)
    if "PATH" in scene.environment:  # what stands first there may not be the tree's either
        monkeypatch.setenv("PATH", f".:{os.environ['PATH'].partition(':')[2].partition(':')[2]}")

    store = Store(tmp_path / "store.git")
    first = store.snapshot(scene.tree, ref="attempts/001/1", parent=None, message="first\0\ud800", when=1_700_000_000)
    (scene.tree / "server" / "engine.py").write_text("speed = 2\n")
    second = store.snapshot(scene.tree, ref="attempts/001/2", parent=first.sha, message="-m second", when=1_700_000_060)
    store.set_ref("rounds/001", second.sha)
    store.note(second.sha, "x" * 200_000)
    store.checkout(second.sha, tmp_path / "out")
    diff, size = store.diff(first.sha, second.sha), store.diff_size(first.sha, second.sha)
    store.verify()
    store.clone_to(tmp_path / "clone")

    assert not scene.mark.exists()
    assert contents(tmp_path / "out") == contents(scene.tree)
    assert "+speed = 2" in diff
    assert (size.files, size.added, size.removed) == (1, 1, 1)
    assert store.read_file(second.sha, "server/engine.py") == "speed = 2\n"
    assert len(store.files(second.sha)) == len(contents(scene.tree))
    assert (store.ref("rounds/001"), store.tree_of(second.sha)) == (second.sha, second.tree)
    assert not (scene.home / "elsewhere").exists()
    assert not (scene.home / "objects").exists()


def test_there_are_more_than_15_of_them(record_property) -> None:
    record_property("trials", f"{len(HARMLESS)} planted settings, {len(REFUSED)} trees")
    assert len(HARMLESS) + len(REFUSED) > 15


def test_an_ordinary_git_does_run_what_is_planted(scene: Scene) -> None:
    """The attacks are real: the same scene, met without precautions."""
    filters(scene)
    environment = {"PATH": os.environ["PATH"], "HOME": str(scene.home)}
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *arguments], cwd=scene.tree, env=environment, check=True, capture_output=True)
    assert scene.mark.exists()


def repository(folder: Path, name: str = ".git") -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / "hidden.py").write_text("x = 1\n")
    (folder / ".git").rename(folder / name)


def repository_with_a_commit(folder: Path) -> None:
    repository(folder)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for arguments in (["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def hole(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


REFUSED: dict[str, Callable[[Path], object]] = {
    "a repository": lambda tree: repository(tree / "sub"),
    "a repository with a commit": lambda tree: repository_with_a_commit(tree / "sub"),
    "a repository at the top": repository,
    "a repository in capitals": lambda tree: repository(tree / "sub", ".GIT"),
    "a repository by its short name": lambda tree: repository(tree / "sub", "git~1"),
    "a repository with an invisible letter": lambda tree: repository(tree / "sub", ".g\u200cit"),
    "a file that leads to a repository": lambda tree: (tree / "server" / ".git").write_text("gitdir: /tmp/x\n"),
    "a link to a file": lambda tree: (tree / "passwords").symlink_to("/etc/passwd"),
    "a link to a folder": lambda tree: (tree / "etc").symlink_to("/etc"),
    "a dangling link": lambda tree: (tree / "later").symlink_to(tree / "nowhere"),
    "a pipe": lambda tree: os.mkfifo(tree / "pipe"),
    "a large file": lambda tree: (tree / "weights").write_bytes(bytes(workspace.MAX_FILE_BYTES + 1)),
    "many large files": lambda tree: [hole(tree / f"part-{n}", 9 << 20) for n in range(12)],
    "folders in folders": lambda tree: (tree / "/".join("d" * 100)).mkdir(parents=True),
    "nothing": lambda tree: (tree / "server" / "engine.py").unlink(),
}  # fmt: skip


@pytest.mark.parametrize("plant", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_faithfully_is_refused_and_the_store_goes_on(plant, scene: Scene, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.git")
    good = store.snapshot(scene.tree, ref="attempts/001/1", parent=None, message="good", when=1_700_000_000)
    plant(scene.tree)
    with pytest.raises(WorkspaceError):
        store.snapshot(scene.tree, ref="attempts/001/2", parent=good.sha, message="bad", when=1_700_000_060)
    assert store.ref("attempts/001/2") is None
    store.checkout(good.sha, tmp_path / "out")
    again = store.snapshot(tmp_path / "out", ref="attempts/001/3", parent=good.sha, message="x", when=1_700_000_120)
    assert again.tree == good.tree
    store.verify()
