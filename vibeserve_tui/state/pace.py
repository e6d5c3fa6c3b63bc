"""How long things take here, as far as it has been seen: whether one more round would still fit."""

from __future__ import annotations

from statistics import median

from vibeserve_tui.run_state import RunState

MARGIN = 1.25
"""Windows are whole passes over a level's requests, and the levels beside the headline's add theirs."""


def too_late(state: RunState, seconds_left: float) -> str:
    """Why no further round fits into what is left of the run's minutes; "" when one does."""
    took = [record.took_s for record in state.rounds.values() if record.took_s]
    typical = median(took) if took else 0.0
    return f"{seconds_left:.0f} s are left; a round takes about {typical:.0f} s" if seconds_left < typical else ""


def confirmation_s(state: RunState, blocks: int, window_s: float) -> float:
    """What confirming the present champion will take.

    Both sides answer the same requests, as many as keep the champion busy for a window: a champion that is twenty times
    as fast makes the seed work for twenty windows. A block of the baseline knows the rest: restarts, and the seed itself.
    """
    measured = state.baseline.measured if state.baseline else None
    if measured is None or not measured.blocks:
        return 0.0
    return MARGIN * blocks * (measured.took_s / measured.blocks + window_s * (state.total_gain or 1.0))
