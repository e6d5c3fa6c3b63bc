"""A process that asks a model one question within a run, as an engine does: `python -m tests.agents.one_call RUN URL WIRE`."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from tests.agents.scene import KEY_NAME, Scene, Verdict, request_of
from vibeserve_tui.agents.protocol import Tool, load_voice
from vibeserve_tui.errors import VibeServeError
from vibeserve_tui.events import Rates, VoiceSettings
from vibeserve_tui.roles.conversation import ask
from vibeserve_tui.state.run import Run
from vibeserve_tui.state.run_dir import RunDir

PRICE = Rates(input=1.0, output=10.0, cache_read=0.1, cache_write=1.25)


def settings_for(url: str, wire: str) -> VoiceSettings:
    return VoiceSettings(
        provider="anthropic_api" if wire == "messages" else "openai_api",
        model="fake-1",
        api=wire,
        base_url=url if wire == "messages" else f"{url}/v1",
        api_key_env=KEY_NAME,
        prices={"fake-1": PRICE},
    )


def tools_for(workspace: Path) -> tuple[Tool, ...]:
    """The scene's tools, writing into a real folder."""
    scene = Scene("")
    tools = scene.tools()

    async def write(given: object) -> str:
        answer = await tools[0].call(given)
        for name, content in scene.files.items():
            (workspace / name).write_text(content)
        return answer

    return (replace(tools[0], call=write), tools[1])


async def main(run: Run, settings: VoiceSettings) -> Verdict:
    run.dir.workspace.mkdir(exist_ok=True)
    request = request_of(Scene(""), workspace=run.dir.workspace)
    assert request.brief is not None
    brief = replace(request.brief, tools=tools_for(run.dir.workspace), writable=True)
    return await ask(run, load_voice(settings), replace(request, brief=brief), Verdict)


if __name__ == "__main__":
    path, url, wire = sys.argv[1:]
    try:
        answer = asyncio.run(main(Run(RunDir(Path(path))), settings_for(url, wire)))
        sys.stdout.write(answer.model_dump_json())
    except VibeServeError as error:
        sys.stderr.write(str(error))
        sys.exit(error.exit_code)
