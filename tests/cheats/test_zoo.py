from __future__ import annotations

from pathlib import Path

import pytest

from tests.cheats.laboratory import Laboratory
from tests.cheats.zoo import READ, SERVED, Cheat

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.xdist_group("zoo")]


@pytest.mark.parametrize("cheat", READ + SERVED, ids=lambda cheat: cheat.name)
async def test_a_cheat_is_rejected_for_what_it_does(lab: Laboratory, tmp_path: Path, cheat: Cheat) -> None:
    tree = cheat.apply(lab.honest, tmp_path / "tree")
    exam = lab.look(tree, 1) if cheat.step == "J0" else lab.exam(tree, 1)
    findings = await lab.examine(exam, cheat.step)
    assert cheat.says in findings.fault
