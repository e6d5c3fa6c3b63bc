"""skill: what the library knows, read before code is written.

Only skills that fit this backend and target are offered, so that nobody follows another platform's advice. Which ones
were read is kept, and what a task names has to be read before its implementer may write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import Field

from vibeserve_tui.agents.protocol import Tool, ToolError
from vibeserve_tui.agents.toolbox.arguments import Arguments, told
from vibeserve_tui.agents.toolbox.outputs import Outputs
from vibeserve_tui.errors import did_you_mean
from vibeserve_tui.inputs.skills import Offer
from vibeserve_tui.recipes.tree import read_text

TEXT_LIMIT = 30_000
MAIN = "SKILL.md"


@dataclass(slots=True)
class Shelf:
    """The skills as one call of a role sees them."""

    offers: dict[str, Offer]
    required: tuple[str, ...] = ()
    """To be read before anything is written."""
    read: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, offers: Iterable[Offer], required: Iterable[str] = ()) -> Shelf:
        by_name = {offer.skill.name: offer for offer in offers}
        return cls(by_name, tuple(name for name in required if name in by_name and by_name[name].offered))

    def text(self, name: str, file: str) -> str:
        offered = [known for known, offer in self.offers.items() if offer.offered]
        offer = self.offers.get(name)
        if offer is None:
            raise ToolError(f"there is no skill {name!r}{did_you_mean(name, offered)}; there are: {', '.join(offered)}")
        if not offer.offered:
            raise ToolError(f"{name} is not offered here: it {offer.why}")
        with told():
            text = read_text(offer.skill.folder, file)
        if text is None:
            raise ToolError(f"{name} has no file {file!r}; it has: {', '.join(_files(offer))}")
        if file == MAIN and name not in self.read:
            self.read.append(name)
        return text

    def must_have_read(self) -> None:
        """Raises ToolError while a skill that the task names was not read."""
        if unread := [name for name in self.required if name not in self.read]:
            raise ToolError(f"read first, then write: skill {', '.join(unread)}; the task builds on it")


class ReadSkill(Arguments):
    name: str = Field(max_length=64)
    file: str = Field(default=MAIN, max_length=200, description="a file of the skill, such as a reference or an asset")


def skill_tool(shelf: Shelf, outputs: Outputs) -> Tool:
    async def skill(arguments: ReadSkill) -> str:
        return outputs.cut(shelf.text(arguments.name, arguments.file), TEXT_LIMIT)

    return Tool("skill", "Read a skill of the library, or one of its files.", ReadSkill, skill)


def _files(offer: Offer) -> list[str]:
    folder = offer.skill.folder
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
    return [path.relative_to(folder).as_posix() for path in files][:40]
