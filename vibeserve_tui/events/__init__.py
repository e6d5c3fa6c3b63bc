"""Everything the engine says, as typed events; a journal line carries exactly one of them.

An event is a fact in the past tense. A client folds them into a `RunState` and never asks the engine anything else.
They and what they speak of share this one namespace, which is commonly imported as `ev`.
"""

from vibeserve_tui.events.kinds import *  # noqa: F403 - one namespace is the purpose
from vibeserve_tui.events.nouns import *  # noqa: F403
