"""What recipes did in earlier runs on this machine: an append-only file, one JSON line per trial.

Written by the engine only; read by the planner, by prompts and by people. Deleting it is harmless, and the priors
that recipes ship with are never changed by it. A damaged line costs that line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError

from vibeserve_tui.errors import WorkspaceError
from vibeserve_tui.events import Outcome
from vibeserve_tui.recipes.trials import Step, Trial

SIMILAR_DEVICE_WEIGHT = 0.3
OTHER_TRAFFIC_WEIGHT = 0.3
"""A gain belongs to a workload: what another one showed counts less, on the same device too."""


class Circumstances(BaseModel):
    """Where a trial was made; only like is compared with like."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    fingerprint: str
    """Of the device: hardware, driver and kernel."""
    backend: str
    device_class: str
    target_digest: str = ""
    model_shape: str = ""
    workload_digest: str = ""
    versions: dict[str, str] = {}

    def weight_for(self, now: Circumstances) -> float:
        """How much a trial made here says about one made in `now`; 0 = it is shown, not used."""
        if self.fingerprint == now.fingerprint:
            weight = 1.0
        elif (self.backend, self.device_class) == (now.backend, now.device_class):
            weight = SIMILAR_DEVICE_WEIGHT
        else:
            return 0.0
        same_traffic = (self.model_shape, self.workload_digest) == (now.model_shape, now.workload_digest)
        return weight if same_traffic else weight * OTHER_TRAFFIC_WEIGHT


class Experience(BaseModel):
    """One line of the store. Unknown keys are ignored: a newer version may have written it."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    recipe: str
    version: str
    params: dict[str, bool | int | float | str] = {}
    capabilities: tuple[str, ...] = ()
    circumstances: Circumstances
    outcome: Outcome
    step: Step = Step.RECIPE
    ratio: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    reason: str = ""
    run: str
    round: int
    commit: str = ""

    @classmethod
    def of(cls, trial: Trial, circumstances: Circumstances, *, run: str, commit: str) -> Experience:
        return cls(
            recipe=trial.recipe,
            version=trial.version,
            params={name: value for name, value in trial.params.items() if not isinstance(value, tuple)},
            capabilities=tuple(sorted(trial.capabilities)),
            circumstances=circumstances,
            outcome=trial.outcome,
            step=trial.step,
            ratio=trial.ratio,
            ci_low=trial.ci_low,
            ci_high=trial.ci_high,
            reason=trial.reason,
            run=run,
            round=trial.round,
            commit=commit,
        )

    def trial(self, weight: float) -> Trial:
        return Trial(
            self.recipe, self.version, self.params, frozenset(self.capabilities), self.outcome, self.ratio, self.ci_low,
            self.ci_high, self.reason, self.round, self.step, weight=weight,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recollection:
    """What was read, and which lines could not be."""

    records: tuple[Experience, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExperienceStore:
    path: Path

    @classmethod
    def of_this_user(cls) -> ExperienceStore:
        return cls(platformdirs.user_data_path("vibeserve") / "experience.jsonl")

    def append(self, record: Experience) -> None:
        """Add one line, at once and in one piece. Raises WorkspaceError when the disk or the rights do not allow it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, _separator(descriptor) + record.model_dump_json().encode() + b"\n")
            finally:
                os.close(descriptor)
        except OSError as error:
            fix = "make room or rights there, or run with --no-experience"
            raise WorkspaceError(f"cannot be written: {error.strerror}", where=str(self.path), fix=fix) from error

    def read(self) -> Recollection:
        """All records, oldest first; nothing when there is no file."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return Recollection((), ())
        except OSError as error:
            return Recollection((), (f"{self.path}: cannot be read: {error.strerror}",))
        records: list[Experience] = []
        warnings: list[str] = []
        for number, line in enumerate(lines, start=1):
            try:
                records.append(Experience.model_validate_json(line))
            except ValidationError:
                warnings.append(f"{self.path}:{number}: a damaged line was passed over")
        return Recollection(tuple(records), tuple(warnings))


def _separator(descriptor: int) -> bytes:
    """A line break if a crash left half a line behind."""
    size = os.fstat(descriptor).st_size
    return b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"


def usable_trials(records: Iterable[Experience], now: Circumstances, *, without_run: str = "") -> tuple[Trial, ...]:
    """The trials that say something about this device and traffic, weighted; not those of the run itself."""
    weighted = ((record, record.circumstances.weight_for(now)) for record in records if record.run != without_run)
    return tuple(record.trial(weight) for record, weight in weighted if weight > 0)
