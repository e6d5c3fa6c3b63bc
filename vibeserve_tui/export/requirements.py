"""What an exported server has to have installed: found by reading its imports, never by running it.

A package is required when some import of it is met on every start. One that is imported only under a condition, in an
`except` or in a file that nothing loads is a fallback's, and optional.
"""

from __future__ import annotations

import ast
import importlib.metadata
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CONDITIONAL = (ast.If, ast.ExceptHandler, ast.For, ast.AsyncFor, ast.While, ast.Match)

_HOLDS_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)


@dataclass(frozen=True, slots=True)
class Requirement:
    """A third-party package that the tree imports, by the name under which it is imported."""

    package: str
    optional: bool
    file: str
    """The first file that imports it."""


@dataclass(frozen=True, slots=True)
class _Import:
    name: str
    """Dotted, absolute; of `from a import b` both `a` and `a.b`, since b may be a module."""
    conditional: bool


def third_party(tree: Path, command: Sequence[str]) -> list[Requirement]:
    """What the tree imports beyond the standard library and itself, sorted; `command` is how the server is started."""
    files = {_module_name(path.relative_to(tree)): path for path in sorted(tree.rglob("*.py"))}
    imports = {name: list(_imports_of(path, name)) for name, path in files.items()}
    always = _loaded(_roots(files, command), imports)
    own = {name.split(".", maxsplit=1)[0] for name in files} | sys.stdlib_module_names
    found = [
        Requirement(package, one.conditional or name not in always, str(files[name].relative_to(tree)))
        for name in files
        for one in imports[name]
        if (package := one.name.split(".", maxsplit=1)[0]) not in own
    ]
    # Required once is required: those go first, and the first of a package stays.
    found.sort(key=lambda requirement: (requirement.optional, requirement.package))
    first: dict[str, Requirement] = {}
    for requirement in found:
        first.setdefault(requirement.package, requirement)
    return list(first.values())


def requirements_text(requirements: Iterable[Requirement], versions: Mapping[str, str]) -> str:
    """A requirements.txt; `versions` are those of the run, by distribution, and go before what is installed here."""
    lines = ["# What the server imports. Versions are those of the run, or else of the machine that exported it."]
    distributions = importlib.metadata.packages_distributions()
    for requirement in requirements:
        pin = _pin(requirement.package, distributions, versions)
        if requirement.optional:
            lines.append(f"# optional, only for a fallback in {requirement.file}:")
            pin = f"# {pin}"
        lines.append(pin)
    return "\n".join(lines) + "\n"


def _pin(package: str, distributions: Mapping[str, Sequence[str]], versions: Mapping[str, str]) -> str:
    candidates = [name.lower() for name in distributions.get(package, [])] or [package]
    name = package if package in candidates else candidates[0]
    version = versions.get(name) or _installed(name)
    if not version:
        return f"{name}  # version unknown: not installed where this was exported"
    # A local label such as +cpu says where a build came from; no index has a version of that name.
    public, _, label = version.partition("+")
    return f"{name}=={public}" + (f"  # in the run: {version}" if label else "")


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


# ---- the graph of imports -----------------------------------------------------------------------------------------


def _roots(files: Mapping[str, Path], command: Sequence[str]) -> list[str]:
    """The module that the command starts; all of them when it does not say which."""
    for word, after in zip(command, [*command[1:], ""], strict=True):
        name = after if word == "-m" else _module_name(Path(word)) if word.endswith(".py") else ""
        for start in (f"{name}.__main__", name):
            if name and start in files:
                return [start]
    return list(files)


def _loaded(roots: Iterable[str], imports: Mapping[str, Sequence[_Import]]) -> frozenset[str]:
    """The tree's modules that a start imports whatever happens."""
    loaded: set[str] = set()
    waiting = [module for root in roots for module in _with_parents(root)]
    while waiting:
        module = waiting.pop()
        if module in imports and module not in loaded:
            loaded.add(module)
            waiting += [name for one in imports[module] if not one.conditional for name in _with_parents(one.name)]
    return frozenset(loaded)


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports_of(path: Path, module: str) -> Iterator[_Import]:
    try:
        with warnings.catch_warnings(action="ignore"):
            syntax = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return  # no start can have loaded it
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    yield from _imports_in(syntax, package, conditional=False)


def _imports_in(node: ast.AST, package: str, *, conditional: bool) -> Iterator[_Import]:
    match node:
        case ast.Import(names=names):
            yield from (_Import(alias.name, conditional) for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            base = ".".join(filter(None, (_ancestor(package, level), module)))
            yield from (_Import(name, conditional) for name in (base, *(f"{base}.{alias.name}" for alias in names)))
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return
        case _:
            inner = conditional or isinstance(node, _CONDITIONAL) or _may_lack_a_package(node)
            for child in ast.iter_child_nodes(node):
                if isinstance(child, _HOLDS_STATEMENTS):
                    yield from _imports_in(child, package, conditional=inner)


def _ancestor(package: str, level: int) -> str:
    """Where a relative import of so many dots begins; "" for an absolute one."""
    if not level:
        return ""
    parts = package.split(".")
    return ".".join(parts[: len(parts) - level + 1])


def _may_lack_a_package(node: ast.AST) -> bool:
    """Is this a `try` that expects an import to fail? One that catches everything says nothing about imports."""
    if not isinstance(node, ast.Try):
        return False
    types = [handler.type for handler in node.handlers if handler.type is not None]
    caught = {name.id for caught in types for name in ast.walk(caught) if isinstance(name, ast.Name)}
    return not caught.isdisjoint({"ImportError", "ModuleNotFoundError"})
