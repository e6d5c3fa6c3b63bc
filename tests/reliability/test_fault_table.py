"""Every fault has its row in docs/faults.md, and every test that a row names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| F(\d+) \|(.+)\|$", (ROOT / "docs" / "faults.md").read_text("utf-8"), re.MULTILINE)


def test_the_faults_are_numbered_without_a_gap() -> None:
    assert [int(number) for number, _ in ROWS] == list(range(1, 28))


@pytest.mark.parametrize(("number", "row"), ROWS, ids=[f"F{number}" for number, _ in ROWS])
def test_what_shows_a_fault_exists(number: str, row: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
    assert named, f"F{number} names no test"
    missing = [f"{file}::{test}" for file, test in named if test not in functions_of(ROOT / "tests" / file)]
    assert missing == []


def functions_of(file: Path) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, kinds)}
