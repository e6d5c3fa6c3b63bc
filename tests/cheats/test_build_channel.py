"""What one start of a commit can leave for the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cheats.laboratory import Laboratory
from tests.cheats.zoo import Cheat
from vibeserve_tui.evaluation.exam import ask

pytestmark = pytest.mark.asyncio(loop_scope="session")
DIARY = Cheat("a diary of its starts", "", "", "H14", "server/engine.py", """

    import os
    import pathlib

    _folder = pathlib.Path(os.environ["BUILD_DIR"])
    _start, _submit = Engine.start, Engine.submit


    def start(self):
        for path in _folder.iterdir():
            counters.add(f"found {path.name}")
        try:
            (_folder / "before").touch()
            counters.add("wrote")
        except OSError:
            pass
        _start(self)


    def submit(self, request, sink):
        try:
            (_folder / "after").touch()
        except OSError:
            pass
        return _submit(self, request, sink)


    Engine.start, Engine.submit = start, submit
    """)  # fmt: skip


async def test_a_start_finds_what_was_built_before_the_first_readiness_and_nothing_else(
    lab: Laboratory, tmp_path: Path
) -> None:
    exam = lab.exam(DIARY.apply(lab.honest, tmp_path / "tree"), 1)
    seen = []
    for _ in range(3):
        async with exam.serve(exam.target.model_dir) as server:
            seen.append(server.health["counters"])
            (report,) = await ask(exam, server, exam.draw("one", 1, tokens=2), concurrency=1)
            assert report.ok
    assert seen == [{"wrote": 1}, {"found before": 1}, {"found before": 1}]
