"""Try all escapes from a box of the calling user: `python -m tests.execution.as_user TIER`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from tests.execution.host import Outside, candidates_result, prepared_host
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.launcher import Launcher


async def outcomes(launcher: Launcher, outside: Outside) -> dict[str, str]:
    result = await candidates_result(launcher, outside)
    await launcher.close()
    tried: dict[str, str] = json.loads(result.stdout)
    return tried


def main() -> None:
    launcher = Launcher.start("ordinary-user", tiers=(Tier(sys.argv[1]),))
    with tempfile.TemporaryDirectory() as folder, prepared_host(Path(folder)) as outside:
        tried = asyncio.run(outcomes(launcher, outside))
        harm = outside.harm()
    sys.stdout.write(json.dumps({"user": os.getuid(), "outcomes": tried, "harm": harm}))


if __name__ == "__main__":
    main()
