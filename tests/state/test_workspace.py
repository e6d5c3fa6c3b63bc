"""The git store: what goes in comes out byte for byte, and nothing planted in a tree runs or hides."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.state.workspace import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store.git")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "server").mkdir(parents=True)
    (folder / "server" / "engine.py").write_text("a = 1\n")
    return folder


def commit(store: Store, tree: Path, ref: str = "attempts/001/1", parent: str | None = None) -> str:
    return store.snapshot(tree, ref=ref, parent=parent, message="round 1: try", when=1_700_000_000).sha


def test_checkout_of_a_snapshot_is_byte_equal_even_against_hostile_attributes(store, tree, tmp_path):
    (tree / ".gitattributes").write_text("*.py -diff text eol=crlf ident export-ignore\n")
    (tree / ".gitignore").write_text("hidden.py\n")
    (tree / "hidden.py").write_bytes(b"x = '$Id$'\r\n\xff")
    sha = commit(store, tree)
    store.checkout(sha, tmp_path / "out")
    originals = {p.relative_to(tree): p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    copies = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert copies == originals


def test_the_same_tree_parent_and_time_give_the_same_commit(store, tree):
    assert commit(store, tree) == commit(store, tree, ref="attempts/001/2")


def test_diff_shows_what_an_attribute_file_tries_to_hide(store, tree):
    first = commit(store, tree)
    (tree / ".gitattributes").write_text("*.py -diff\n")
    (tree / "server" / "engine.py").write_text("a = 2\n")
    second = commit(store, tree, ref="attempts/001/2", parent=first)
    assert "+a = 2" in store.diff(first, second)
    assert store.diff_size(first, second).files == 2


def test_hooks_and_filters_of_a_tree_never_run(store, tree, tmp_path):
    mark = tmp_path / "ran"
    (tree / ".gitattributes").write_text("* filter=evil\n")
    (tree / "hooks").mkdir()
    hook = tree / "hooks" / "post-commit"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    (tree / ".gitconfig").write_text(f'[filter "evil"]\n clean = touch {mark}\n[core]\n hooksPath = hooks\n')
    commit(store, tree)
    assert not mark.exists()


@pytest.mark.parametrize("name", [".git", ".GIT"])
def test_a_nested_repository_is_refused(store, tree, name):
    (tree / "sub" / name).mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="nested repository"):
        commit(store, tree)


def test_a_link_out_of_the_tree_is_refused(store, tree):
    (tree / "weights").symlink_to("/etc/passwd")
    with pytest.raises(WorkspaceError, match="only plain files"):
        commit(store, tree)


def test_git_variables_of_the_caller_do_not_reach_the_store(store, tree, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere.index"))
    sha = commit(store, tree)
    assert store.ref("attempts/001/1") == sha
    assert not (tmp_path / "elsewhere.index").exists()


def test_a_missing_commit_is_one_clear_error(store):
    with pytest.raises(WorkspaceError, match="git read-tree failed"):
        store.checkout("1" * 40, store._path.parent / "out")


def test_two_checkouts_at_once_do_not_disturb_each_other(store, tree, tmp_path):
    sha = commit(store, tree)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.checkout(sha, tmp_path / f"out{n}"), range(16)))
    assert all((tmp_path / f"out{n}" / "server" / "engine.py").exists() for n in range(16))
