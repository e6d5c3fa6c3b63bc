"""Packs a finished run as the recorded one that ships with the package: `python docs/record_demo.py RUN_DIR`.

What a replay needs goes in, unedited: order, journal, git store, blobs, views. Equal runs give equal archives.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
from pathlib import Path

from vibeserve_tui.client import open_state
from vibeserve_tui.demo import ARCHIVE
from vibeserve_tui.state.run_dir import RunDir

PARTS = ("order.json", "journal.jsonl", "store.git", "blobs", "views")


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without whose it was and when."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def pack(run: RunDir, archive: Path) -> None:
    with gzip.GzipFile(archive, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for part in PARTS:
            for path in sorted((run.path / part).rglob("*")) if (run.path / part).is_dir() else [run.path / part]:
                tar.add(path, f"{run.name}/{path.relative_to(run.path)}", recursive=False, filter=anonymous)


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python docs/record_demo.py RUN_DIR", file=sys.stderr)
        return 2
    run = RunDir(Path(sys.argv[1]).resolve())
    state = open_state(run)
    if not state.confirmed:
        print(f"{run.path}: nothing was confirmed; record a run that ended", file=sys.stderr)
        return 2
    pack(run, ARCHIVE)
    print(f"{ARCHIVE}: {ARCHIVE.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
