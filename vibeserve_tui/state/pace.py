"""How long rounds take here, as far as it has been seen: whether one more would still fit."""

from __future__ import annotations

from statistics import median

from vibeserve_tui.run_state import RunState


def too_late(state: RunState, seconds_left: float) -> str:
    """Why no further round fits into what is left of the run's minutes; "" when one does."""
    took = [record.took_s for record in state.rounds.values() if record.took_s]
    typical = median(took) if took else 0.0
    return f"{seconds_left:.0f} s are left; a round takes about {typical:.0f} s" if seconds_left < typical else ""
