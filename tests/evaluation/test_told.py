from __future__ import annotations

from pathlib import Path

import pytest

from vibeserve_tui.evaluation.told import Compared, Told
from vibeserve_tui.inputs.target_sections import GapLimits

NUMERIC = GapLimits(share_05=0.005, share_2=0.0022, mean=0.0033)


def compared(wrong: int, place: int) -> Compared:
    """Eighteen answers of forty tokens, of which so many have one wrong token in that place."""
    answers = [Told((5, number), (7,) * 40, ended=False) for number in range(18)]
    return Compared(
        {
            (Path("model"), answer): [5.0 if number < wrong and at == place else 0.0 for at in range(40)]
            for number, answer in enumerate(answers)
        }
    )


@pytest.mark.parametrize(
    ("wrong", "place", "says"), [(6, 0, "first tokens alone: gap share_05"), (6, 9, ""), (1, 0, "")]
)
def test_one_wrong_token_an_answer_shows_where_it_is_always_the_first(wrong: int, place: int, says: str) -> None:
    fault = compared(wrong, place).beyond(NUMERIC)
    assert fault.startswith(says) if says else not fault


def test_what_all_answers_break_together_is_said_first() -> None:
    assert compared(18, 9).beyond(NUMERIC).startswith("together with the answers of earlier steps: gap mean")
