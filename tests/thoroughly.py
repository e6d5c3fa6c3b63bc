"""Cases that `make test` leaves to `make thorough`: further variants of what another case shows already."""

from __future__ import annotations

import pytest


def thoroughly(*values: object, **named: str) -> object:
    """A parameter set for `pytest.mark.parametrize`; `id` as there."""
    return pytest.param(*values, marks=[pytest.mark.slow, pytest.mark.thorough], **named)
