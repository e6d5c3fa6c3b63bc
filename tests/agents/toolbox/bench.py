"""Tools by name, called as an agent would."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.places import Places
from vibeserve_tui.agents.toolbox.reading import reading_tools
from vibeserve_tui.agents.toolbox.shell import Shell, bash_tool
from vibeserve_tui.agents.toolbox.writing import EditTool, writing_tools


def nothing_forbids() -> None:
    pass


async def call(tools: tuple[Tool, ...], tool_name: str, /, **arguments: object) -> str:
    (tool,) = (tool for tool in tools if tool.name == tool_name)
    return await tool.call(tool.arguments.model_validate(arguments))


async def refusal(tools: tuple[Tool, ...], tool_name: str, /, **arguments: object) -> str:
    try:
        done = await call(tools, tool_name, **arguments)
    except ToolError as error:
        return str(error)
    raise AssertionError(f"{tool_name} was not refused: {done}")


@dataclass
class Bench:
    places: Places
    shell: Shell
    edit_tool: EditTool = "edit"
    tools: tuple[Tool, ...] = field(init=False)

    def __post_init__(self) -> None:
        writing = writing_tools(self.places, self.edit_tool, nothing_forbids)
        self.tools = (*reading_tools(self.places, self.shell), *writing, bash_tool(self.places, self.shell))

    def read_only(self) -> Bench:
        return Bench(self.places, replace(self.shell, writable=False))

    async def call(self, tool_name: str, /, **arguments: object) -> str:
        return await call(self.tools, tool_name, **arguments)

    async def refusal(self, tool_name: str, /, **arguments: object) -> str:
        return await refusal(self.tools, tool_name, **arguments)
