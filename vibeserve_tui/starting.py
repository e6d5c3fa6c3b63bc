"""From what a person asked for to a run on disk: everything is checked here, before any process is started.

The order that comes out is complete: the engine reads nothing else, so a run can be resumed years later with the
settings it was started with.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from vibeserve_tui import events as ev
from vibeserve_tui.backend import load_backend
from vibeserve_tui.client import start_engine
from vibeserve_tui.errors import BackendError, EnvironmentFault, ProfileError, TargetError, VibeServeError, did_you_mean
from vibeserve_tui.inputs.own_targets import own_targets, weights_of
from vibeserve_tui.inputs.profiles import RunProfile, load_profile
from vibeserve_tui.inputs.target import LoadedTarget, load_target
from vibeserve_tui.inputs.trust import require_trust
from vibeserve_tui.resources import shipped_targets
from vibeserve_tui.state import durable
from vibeserve_tui.state.run_dir import RunDir

START_S = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for; None and "" leave it to the profile and the target."""

    target: str = "tiny-llama-chat"
    profile: str = "quick"
    backend: str = ""
    agent: str = ""
    approval: str = ""
    max_rounds: int | None = None
    max_minutes: float | None = None
    model_dir: Path | None = None
    trust: str = ""
    seed: int | None = None
    use_experience: bool = True
    forbids: tuple[str, ...] = ()
    allow_no_sandbox: bool = False
    asks: bool = False
    changes: dict[str, object] = field(default_factory=dict)


def find_target(name_or_path: str) -> Path:
    """The folder of a shipped target or of one of the user's own, or the path given. Raises TargetError naming the nearest one."""
    shipped = shipped_targets()
    if name_or_path in shipped:
        return shipped[name_or_path]
    own = own_targets()
    if name_or_path in own:
        return own[name_or_path]
    path = Path(name_or_path)
    if (path / "target.toml").exists():
        return path.resolve()
    raise TargetError(
        f"no target {name_or_path!r}{did_you_mean(name_or_path, [*shipped, *own])}",
        fix="vibeserve target ls, or give the path of a folder with a target.toml",
    )


def plan_run(wanted: Wanted) -> ev.RunPlan:
    """All settings of a run, validated. Raises the first fault as an error with its exit code."""
    profile = _profile(wanted)
    folder = find_target(wanted.target)
    model_dir = wanted.model_dir or weights_of(folder)
    target = load_target(folder, model=model_dir)
    require_trust(target, wanted.trust)
    name = wanted.backend or profile.backend or target.spec.backends[0]
    target = target.for_backend(name)
    backend = load_backend(name)
    device = next(iter(backend.detect()), None)
    state = backend.availability(device)
    if device is None or not state.usable:
        raise BackendError(f"backend {name} is not usable here: {state.reason or 'no device'}", fix=state.fix)
    if shutil.which("git") is None:
        raise EnvironmentFault("git is missing", fix="install git 2.30 or newer")
    agent = wanted.agent or profile.agent.provider
    if agent not in providers():
        raise ProfileError(f"no agent provider {agent!r}", fix=f"pick one of: {', '.join(providers())}")
    return ev.RunPlan(
        target=target.spec.name,
        target_path=str(target.root),
        target_digest=target.digest,
        title=target.spec.title,
        backend=name,
        profile=wanted.profile,
        settings=profile.model_dump(mode="json", by_alias=True, exclude_none=True),
        policy=profile.policy,
        agents=dict.fromkeys(("orchestrator", "implementer", "evaluator"), agent),
        approval=profile.approval or ("each-round" if wanted.asks else "auto"),
        max_rounds=profile.max_rounds,
        max_minutes=profile.max_minutes,
        seed=secrets.randbits(31) if wanted.seed is None else wanted.seed,
        metrics=_metrics(target),
        use_experience=wanted.use_experience,
        model_dir=str(model_dir or ""),
        forbids=wanted.forbids,
        allow_no_sandbox=wanted.allow_no_sandbox,
        asks=wanted.asks,
    )


def create_run(plan: ev.RunPlan, root: Path) -> RunDir:
    """A new run directory with its order; nothing runs yet. Raises EnvironmentFault when it cannot be written."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    run = RunDir(root / f"{stamp}-{plan.target}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        while run.path.exists():
            run = RunDir(root / f"{stamp}-{plan.target}-{secrets.token_hex(2)}")
        run.create()
        durable.write_atomic(run.order, plan.model_dump_json(indent=1).encode())
    except OSError as error:
        raise EnvironmentFault(
            f"the run directory cannot be written: {error.strerror}", where=str(run.path), fix="--runs-dir DIR"
        ) from error
    return run


def launch(run: RunDir) -> subprocess.Popen[bytes]:
    """Start the run's engine and wait until its journal is there. Raises what the engine said when it gave up."""
    engine = start_engine(run)
    deadline = time.monotonic() + START_S
    while not run.journal.exists():
        if engine.poll() is not None:
            raise gave_up(run, engine.returncode)
        if time.monotonic() > deadline:
            engine.kill()
            raise EnvironmentFault("the engine did not start within a minute", where=str(run.log))
        time.sleep(0.02)
    return engine


def gave_up(run: RunDir, code: int) -> VibeServeError:
    """The last line of an engine that ended before it said anything in the journal."""
    lines = run.log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    error = VibeServeError(lines[-1].removeprefix("vibeserve: "))
    error.exit_code = code if code > 0 else 1
    return error


def _profile(wanted: Wanted) -> RunProfile:
    changes: dict[str, object] = dict(wanted.changes)
    if wanted.max_rounds is not None:
        changes["max_rounds"] = wanted.max_rounds
    if wanted.max_minutes is not None:
        changes["max_minutes"] = wanted.max_minutes
    if wanted.approval:
        changes["approval"] = wanted.approval
    profile = load_profile(wanted.profile)
    return profile.changed(changes) if changes else profile


def _metrics(target: LoadedTarget) -> tuple[ev.MetricRef, ...]:
    return tuple(
        ev.MetricRef(name=m.name, level=m.level or "", unit=m.unit, direction=m.direction.value, headline=m.headline)
        for m in target.spec.metrics
    )


def providers() -> tuple[str, ...]:
    """Who can play the roles: the files of `agents/`."""
    folder = Path(__file__).with_name("agents")
    return tuple(
        sorted(path.stem for path in folder.glob("*.py") if path.stem not in ("__init__", "protocol", "replies"))
    )
