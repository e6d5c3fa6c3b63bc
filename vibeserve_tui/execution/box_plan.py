"""From a spec to a plan: all that a forked child needs, made before the fork so that it only has to act."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vibeserve_tui.execution import landlock, seatbelt, view
from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.ladder import Tier
from vibeserve_tui.execution.landlock import Rules
from vibeserve_tui.execution.namespaces import PodNamespaces
from vibeserve_tui.execution.seccomp import Sockets

Stdio = tuple[int, int, int]
"""Open files for stdin, stdout and stderr."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all boxes of a launcher have in common."""

    tier: Tier
    interpreter: view.Interpreter
    run: str
    scratch: str
    """Folder for what boxes write where they cannot have memory of their own."""
    seatbelt: str = seatbelt.PROGRAM


@dataclass(frozen=True, slots=True)
class Pod:
    namespaces: PodNamespaces | None
    """None where the tier shares the host's network."""
    port: int

    def close(self) -> None:
        if self.namespaces is not None:
            self.namespaces.close()


@dataclass(frozen=True, slots=True)
class BoxPlan:
    tier: Tier
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    stdio: Stdio
    limits: Limits
    cores: frozenset[int] | None
    view: tuple[view.Entry, ...]
    rules: Rules | None
    """Tier landlock only."""
    pod: PodNamespaces | None
    """Whose network it shares; without one a box has a new, empty network, where a tier gives boxes any."""
    sockets: Sockets


def plan_of(spec: BoxSpec, ground: Ground, stdio: Stdio, pod: Pod | None, scratch: str | None) -> BoxPlan:
    """`scratch` is the box's own folder where it cannot have memory for that."""
    entries = view.view_of(spec, ground.interpreter)
    rules = None
    if ground.tier is Tier.LANDLOCK and scratch is not None:
        rules = view.landlock_rules(entries, scratch, _ports(spec, pod))
    return BoxPlan(
        tier=ground.tier,
        argv=_argv(spec, ground, pod, scratch),
        env=_environment(spec, ground, scratch),
        cwd=str(spec.cwd),
        stdio=stdio,
        limits=spec.limits,
        cores=spec.cores,
        view=entries,
        rules=rules,
        pod=pod.namespaces if pod else None,
        sockets=Sockets.TCP if ground.tier.is_beside_host else Sockets.ALL,
    )


def _argv(spec: BoxSpec, ground: Ground, pod: Pod | None, scratch: str | None) -> tuple[str, ...]:
    if ground.tier is not Tier.SEATBELT or scratch is None:
        return spec.argv
    box = seatbelt.box_of(spec, ground.interpreter, scratch, pod.port if pod else None)
    return tuple(seatbelt.command(box, spec.argv, ground.seatbelt))


def _ports(spec: BoxSpec, pod: Pod | None) -> landlock.Ports:
    return () if pod is None else ((pod.port, landlock.BIND if spec.serves else landlock.CONNECT),)


def _environment(spec: BoxSpec, ground: Ground, scratch: str | None) -> dict[str, str]:
    """Built, never filtered: nothing of the launcher's own environment gets in."""
    prefixes = [f"{prefix}/bin" for prefix in ground.interpreter.prefixes]
    path = ":".join([*prefixes, "/usr/local/bin", "/usr/bin", "/bin"])
    return {
        "PATH": path,
        "LANG": "C.UTF-8",
        **spec.env,
        "HOME": scratch or view.HOME,
        "TMPDIR": scratch or view.TMP,
        "VIBESERVE_RUN": ground.run,
    }
