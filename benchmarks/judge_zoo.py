"""Judge every cheat and every honest server of the zoo on several private seeds, and print who was rejected.

    python benchmarks/judge_zoo.py [--seeds 3] [--honest-seeds 10] [--first-seed 1] [--only TEXT]
                                   [--step J2] [--part 1/1] [--out FILE]

The test suite asks each of them once; detection and false-alarm rates come from here. A cheat is asked by the step that
is there for it, an honest server by all steps, on one process per start that the battery makes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import Coroutine, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cheats.cunning import CUNNING
from tests.cheats.honest import HONEST, Honest
from tests.cheats.laboratory import Laboratory, laboratory
from tests.cheats.lucky import LUCKY
from tests.cheats.zoo import READ, SERVED, Cheat
from vibeserve_tui.execution.launcher import Launcher

HONEST_STEPS = ("J0", "J1", "J2", "J3", "J4", "J6", "J5", "J7", "J8")
STEPS = (*HONEST_STEPS, "J9")


async def ask_cheat(lab: Laboratory, cheat: Cheat, seeds: Sequence[int], folder: Path) -> dict[str, object]:
    tree = cheat.apply(lab.honest, folder)
    exam = lab.look(tree, seeds[0]) if cheat.step == "J0" else lab.exam(tree, seeds[0])
    found = await lab.examine_all([exam.anew(seed) for seed in seeds], cheat.step)
    rejected = sum(cheat.says in findings.fault for findings in found)
    return {"name": cheat.name, "hacks": cheat.hacks, "step": cheat.step, "seeds": [*seeds], "rejected": rejected}


async def ask_honest(
    lab: Laboratory, honest: Honest, seeds: Sequence[int], folder: Path, steps: Sequence[str]
) -> dict[str, object]:
    first = lab.exam(honest.tree(lab, folder), seeds[0], honest.accuracy)
    exams = [first.anew(seed) for seed in seeds]
    faults = [
        (exam.seed, f"{step}: {findings.fault}")
        for step in steps
        for exam, findings in zip(exams, await lab.examine_all(exams, step), strict=True)
        if findings.fault
    ]
    rejected = len({seed for seed, _ in faults})
    row: dict[str, object] = {"name": honest.name, "class": honest.accuracy, "seeds": [*seeds], "rejected": rejected}
    return row | ({"faults": faults} if faults else {})


async def main(options: argparse.Namespace) -> None:
    first = options.first_seed
    launcher = Launcher.start(f"zoo-{uuid.uuid4().hex}")
    with tempfile.TemporaryDirectory(prefix="vibeserve-zoo-") as name:
        folder = Path(name)
        async with laboratory(launcher, folder) as lab:
            part, parts = options.part
            cheats = [one for one in READ + SERVED + CUNNING + LUCKY if options.seeds and options.only in one.name]
            honest = [one for one in HONEST if options.honest_seeds and options.only in one.name]
            cheats = [one for one in cheats if options.step in (None, one.step)]
            steps = [options.step] if options.step else HONEST_STEPS
            cheats, honest = cheats[part - 1 :: parts], honest[part - 1 :: parts]
            for number, cheat in enumerate(cheats):
                row = ask_cheat(lab, cheat, range(first, first + options.seeds), folder / f"cheat-{number}")
                await show(row, options.out)
            for number, server in enumerate(honest):
                seeds = range(first, first + options.honest_seeds)
                row = ask_honest(lab, server, seeds, folder / f"honest-{number}", steps)
                await show(row, options.out)
    await launcher.close()


def part_of(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError("write it like 1/2")
    return int(part), int(parts)


async def show(row: Coroutine[None, None, dict[str, object]], out: Path | None) -> None:
    started = time.perf_counter()
    line = json.dumps(await row | {"took_s": round(time.perf_counter() - started, 1)}, ensure_ascii=False)
    print(line, flush=True)
    if out is not None:
        with out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="per cheat; 0 leaves them out")
    parser.add_argument("--honest-seeds", type=int, default=10, help="per honest server; 0 leaves them out")
    parser.add_argument("--first-seed", type=int, default=1, help="they are counted up from here")
    parser.add_argument("--only", default="", help="only servers whose name contains this")
    parser.add_argument(
        "--step", choices=STEPS, default=None, help="only this one, and the cheats that it is there for"
    )
    parser.add_argument("--part", type=part_of, default=(1, 1), help="every Nth server from the Ith on, as I/N")
    parser.add_argument("--out", type=Path, default=None, help="append each row there as a line of JSON")
    asyncio.run(main(parser.parse_args()))
