"""Run-time twin of the import contracts: what a start may load, and how long `--help` may take."""

from __future__ import annotations

import statistics

import pytest

from tests.processes import python, vibeserve
from vibeserve_tui.agents.protocol import providers
from vibeserve_tui.cli import MODULES, VERBS

HEAVY = ["textual", "rich", "torch", "transformers", "mlx", "anthropic", "openai", "llama_cpp"]
VERB_MODULES = sorted({MODULES.get(verb, verb) for verb in VERBS})
CASES = {
    "the command line": (["vibeserve_tui.cli"], [*HEAVY, "numpy", "pydantic", "git"]),
    "the engine": (["vibeserve_tui.engine"], HEAVY),
    "the headless client": (["vibeserve_tui.headless"], [*HEAVY, "numpy"]),
    "agents before their first call": (
        [f"vibeserve_tui.agents.{name}" for name in providers()],
        [*HEAVY, "genai_prices", "mcp", "xgrammar"],
    ),
    "a backend": (["vibeserve_cpu"], [*HEAVY, "numpy"]),
    "every verb but the app": ([f"vibeserve_tui.verbs.{name}" for name in VERB_MODULES], HEAVY),
}


@pytest.mark.parametrize(("modules", "unwanted"), CASES.values(), ids=CASES)
def test_importing_loads_nothing_heavy(modules: list[str], unwanted: list[str]) -> None:
    script = f"import sys, {', '.join(modules)}\nprint(*sorted({set(unwanted)!r} & set(sys.modules)))"
    done = python(["-c", script], PYTHONPATH="backends")
    assert (done.code, done.out.split(), done.err) == (0, [], "")


def test_help_takes_less_cpu_time_than_a_person_notices() -> None:
    runs = [vibeserve("--help") for _ in range(3)]
    assert all(done.code == 0 and "vibeserve run" in done.out for done in runs)
    assert statistics.median(done.cpu_s for done in runs) < 0.3
