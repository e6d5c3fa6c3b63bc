"""The recorded default run that ships with the package: a newcomer sees the app at work within seconds.

It is the journal and the git store of a real run (its provenance is in the journal's first record), packed; nothing in
it was edited.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

from vibeserve_tui.errors import EnvironmentFault
from vibeserve_tui.state.run_dir import RunDir

ARCHIVE = Path(__file__).parent / "demo_run.tar.gz"


def unpacked(folder: Path) -> RunDir:
    """The recorded run, unpacked into `folder`."""
    if not ARCHIVE.exists():
        raise EnvironmentFault("the recorded run is missing", where=str(ARCHIVE), fix="reinstall vibeserve-tui")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return RunDir(next(path.parent for path in folder.glob("*/journal.jsonl")))
