"""Finding an installed CLI, and what a box must show so that it can run.

Nothing is downloaded and nothing of the user's home is shown but the program itself: a login is lent as a copy.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui import foreign_trees
from vibeserve_tui.agents.cli.driver import Login
from vibeserve_tui.errors import EnvironmentFault

PASSED_ON = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "TZ")
"""All that a CLI inherits of our environment: whom to trust when it calls its provider."""
SYSTEM = frozenset({"/usr", "/bin", "/sbin", "/lib", "/lib64"})
LARGEST_LOGIN = 1 << 20
_MODULES = "node_modules"
_SHEBANG_BYTES = 256


@dataclass(frozen=True, slots=True)
class Program:
    path: Path
    """Where it really is: links to it are not shown."""
    places: tuple[Path, ...]
    """Files and folders to be shown, read-only."""

    @property
    def search_path(self) -> str:
        """PATH in the box: the program's interpreter, ours, then the system's."""
        own = (str(place / "bin") for place in self.places if (place / "bin").is_dir())
        return ":".join(dict.fromkeys([*own, f"{sys.prefix}/bin", "/usr/local/bin", "/usr/bin", "/bin"]))


def find(name: str, package: str) -> Program:
    """The program as the user's shell would find it. Raises EnvironmentFault when there is none."""
    found = shutil.which(name)
    if found is None:
        raise EnvironmentFault(f"the program {name} is not installed", fix=f"npm install -g {package}")
    path = Path(found).resolve()
    interpreter = _interpreter(path)
    places = (_home_of(path), *(_prefixes(interpreter) if interpreter else ()))
    return Program(path, tuple(dict.fromkeys(places)))


def environment(proxy: str) -> Mapping[str, str]:
    """`proxy` is the box's way to the rest of the world; it has no other."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    names = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy)
    names |= dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    return passed_on | names | {"NO_COLOR": "1", "TERM": "dumb"}


def _home_of(program: Path) -> Path:
    """A package's files may use its neighbours: the outermost `node_modules`, else the program's own folder.

    Never a whole home folder: of that only the file is shown.
    """
    parts = program.parts
    if _MODULES in parts:
        return Path(*parts[: parts.index(_MODULES) + 1])
    return program if program.parent in (Path.home(), Path("/")) else program.parent


def _interpreter(script: Path) -> Path | None:
    with script.open("rb") as file:
        first = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    if not first.startswith(b"#!"):
        return None
    words = [word for word in first[2:].decode(errors="replace").split() if not word.startswith("-")]
    name = words[1] if len(words) > 1 and words[0].endswith("/env") else words[0]
    found = shutil.which(name)
    return Path(found) if found else None


def _prefixes(interpreter: Path) -> Iterator[Path]:
    """The installation that an interpreter belongs to; the system's is shown in every box."""
    for place in (interpreter.absolute(), interpreter.resolve()):
        if f"/{place.parts[1]}" not in SYSTEM:
            yield place.parent.parent if place.parent.name == "bin" else place.parent


# ---- logins -------------------------------------------------------------------------------------------------------


def is_logged_in(login: Sequence[Login]) -> bool:
    return any((Path.home() / file.source).is_file() for file in login)


def lend(login: Sequence[Login], home: Path) -> dict[Path, bytes]:
    """Copy the login files into the call's home; returns what they were, for `give_back`."""
    lent: dict[Path, bytes] = {}
    for file in login:
        source, target = Path.home() / file.source, home / file.target
        if source.is_file():
            lent[source] = source.read_bytes()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(lent[source])
            target.chmod(0o600)
    return lent


def give_back(login: Sequence[Login], home: Path, lent: Mapping[Path, bytes]) -> None:
    """Take over a login that the CLI renewed: the old one may not be valid any more.

    Not if the user's own was renewed meanwhile, and only a plain file of a login's size, by no link: what the CLI ran may
    have put anything there, such as a link to the folder where another program keeps its keys.
    """
    for file in login:
        source = Path.home() / file.source
        renewed = foreign_trees.read(home, file.target, most=LARGEST_LOGIN + 1) if source in lent else None
        if renewed is None or len(renewed) > LARGEST_LOGIN:
            continue
        if renewed != lent[source] and source.is_file() and source.read_bytes() == lent[source]:
            fresh = source.with_name(f"{source.name}.vibeserve")
            fresh.touch(mode=0o600)
            fresh.write_bytes(renewed)
            fresh.replace(source)
