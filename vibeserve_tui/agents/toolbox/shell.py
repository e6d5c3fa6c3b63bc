"""bash: a command in a box of its own, with the workspace and nothing of the judge in sight.

No network but an own loopback, no keys, no reference, checker or benchmark. Its processes end with the call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.execution.box import BoxResult, BoxSpec, Limits
from vibeserve_tui.execution.launcher import Launcher

OUTPUT_LIMIT = 10_000
DEFAULT_S, LONGEST_S = 120.0, 600.0


@dataclass(frozen=True, slots=True)
class Shell:
    """Boxes for the commands of one role."""

    launcher: Launcher
    env: Mapping[str, str]
    """A candidate's, so that what works here works where it is judged."""
    model_dir: Path
    limits: Limits
    writable: bool

    async def run(
        self, places: Places, argv: tuple[str, ...], timeout_s: float, *, stdin: bytes = b"", read_only: bool = False
    ) -> BoxResult:
        """Raises SandboxError when the box cannot be built."""
        may_write = self.writable and not read_only
        # Compiled files beside the source would be part of the attempt, and nobody can review those.
        own = {"MODEL_DIR": str(self.model_dir), "TARGET": str(places.public), "PYTHONDONTWRITEBYTECODE": "1"}
        spec = BoxSpec(
            argv=argv,
            cwd=places.workspace,
            env={**self.env, **own},
            read_only=(places.public, self.model_dir, *(() if may_write else (places.workspace,))),
            writable=(places.workspace,) if may_write else (),
            limits=self.limits,
        )
        return await self.launcher.run(spec, stdin=stdin, timeout_s=timeout_s)


class Bash(Arguments):
    command: str = Field(min_length=1, max_length=20_000)
    timeout_s: float = Field(default=DEFAULT_S, gt=0, le=LONGEST_S)


def bash_tool(places: Places, shell: Shell) -> Tool:
    async def bash(arguments: Bash) -> str:
        argv = ("/bin/bash", "-c", f"exec 2>&1\n{arguments.command}")
        with told():
            result = await shell.run(places, argv, arguments.timeout_s)
        output = result.stdout.decode("utf-8", "replace").rstrip("\n")
        return "\n".join(filter(None, (places.outputs.cut(output, OUTPUT_LIMIT), _ended(result, arguments.timeout_s))))

    rights = "may change the workspace" if shell.writable else "sees the workspace read-only"
    description = (
        f"Run a command with bash in the workspace; it {rights}. $MODEL_DIR has the weights, $TARGET the target's public "
        "files. No network except an own loopback; whatever it starts ends with the command."
    )
    return Tool("bash", description, Bash, bash, read_only=not shell.writable)


def _ended(result: BoxResult, timeout_s: float) -> str:
    if result.killed is not None:
        limit = f" of {timeout_s:g} s" if result.killed == "timeout" else ""
        return f"[ended: the limit of {result.killed.value}{limit} was reached]"
    return f"[exit {result.returncode}, {result.wall_s:.1f} s]"
