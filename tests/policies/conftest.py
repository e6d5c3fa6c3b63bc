from __future__ import annotations

import pytest

from tests.policies.searching import full_briefing, with_recipes
from vibeserve_tui.roles.briefing import Briefing


@pytest.fixture(scope="session")
def full() -> Briefing:
    """Everything that is shipped."""
    return full_briefing()


@pytest.fixture(scope="session")
def briefing(full: Briefing) -> Briefing:
    """A handful of recipes, so that a search comes to its end."""
    return with_recipes(full)
