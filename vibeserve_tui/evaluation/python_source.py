"""Python read for what a server has no honest reason to do, or only sometimes has.

It is parsed, never run, and each finding is a guess about one line: whether it fails a candidate is said with it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    FAIL = "fail"
    """There is no honest reason for it."""
    WARN = "warn"
    """A reviewer should look; the tests decide."""


@dataclass(frozen=True, slots=True)
class Suspect:
    line: int
    severity: Severity
    what: str


ENGINES = frozenset(
    {
        "aphrodite", "ctranslate2", "deepspeed", "exllamav2", "gguf", "gpt4all", "lightllm", "llama_cpp", "lmdeploy",
        "mlc_llm", "mlx_lm", "onnxruntime", "openvino", "openvino_genai", "optimum", "sglang", "tensorrt_llm", "vllm",
    }
)  # fmt: skip
CLIENTS = frozenset({"aiohttp", "anthropic", "ftplib", "httpx", "openai", "requests", "urllib3", "websockets"})
CLIENT_MODULES = frozenset({"http.client", "urllib.request", "xmlrpc.client"})
FAKE_CLOCKS = frozenset({"freezegun", "time_machine", "libfaketime"})
CLOCKS = frozenset({"time", "datetime", "datetime.datetime"})
HOST_PROBES = frozenset(
    {"getpass.getuser", "os.getlogin", "platform.node", "psutil.process_iter", "socket.gethostname"}
)
CONNECTORS = frozenset({"asyncio.open_connection", "socket.create_connection", "urllib.request.urlopen"})
KEY_MAKERS = frozenset(
    {
        "adler32", "blake2b", "blake2s", "bytes", "crc32", "digest", "dumps", "hash", "hexdigest", "md5", "repr", "sha1",
        "sha256", "str", "tuple",
    }
)  # fmt: skip
"""What makes a whole question into something to look an answer up by."""
CONTRACT = frozenset(
    {
        "MODEL_DIR", "HOST", "PORT", "BUILD_DIR", "TMPDIR", "HOME", "PATH", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH",
        "VIBESERVE_COMMIT", "VIBESERVE_BACKEND", "VIBESERVE_CORES",
    }
)  # fmt: skip
KNOBS = re.compile(
    r"(OMP|MKL|KMP|GOMP|OPENBLAS|BLIS|VECLIB|NUMEXPR|TORCH|TORCHINDUCTOR|PYTORCH|ATEN|CUDA|NVIDIA|NCCL|TRITON|HIP|"
    r"MLX|METAL|MALLOC|TOKENIZERS|TRANSFORMERS|HF|CXX|CC|VIBE)(_|$)"
)
"""Variables of numeric libraries, compilers and a server's own switches."""
PLACES = re.compile(r"/(tmp|var|run|home|root|etc|mnt|opt|srv)(/|$)")
PROBES = re.compile(
    r"^/(proc|sys)/?$|/(proc|sys)/(?!cpuinfo|meminfo|stat\b|self/(status|statm|stat)\b|devices/system/)|/\.dockerenv"
)
CLIENT_HEADERS = frozenset({"user-agent", "referer", "origin", "x-request-id", "x-forwarded-for", "via", "accept"})
ANSWERS = re.compile(r"(^|_)(answer|complet|generat|reply|replies|respon[ds]|stream|chat)", re.IGNORECASE)
QUESTIONS = frozenset({"prompt", "prompt_ids", "messages", "body", "request", "payload", "call"})
STORE = re.compile(
    r"(cache|memo|seen|known|stored?|saved|answers|responses|replies|completions|outputs|lookup)", re.IGNORECASE
)
PROCESS_STARTERS = frozenset(
    {
        "os.fork", "os.forkpty", "os.posix_spawn", "os.posix_spawnp", "os.setsid", "os.system", "os.popen",
        "os.spawnl", "os.spawnle", "os.spawnlp", "os.spawnlpe", "os.spawnv", "os.spawnve", "os.spawnvp", "os.spawnvpe",
        "subprocess.Popen", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell",
    }
)  # fmt: skip
UNPACKERS = frozenset(
    {
        "base64.b64decode", "base64.b85decode", "base64.a85decode", "base64.b32decode", "zlib.decompress",
        "lzma.decompress", "bz2.decompress", "gzip.decompress", "marshal.loads", "pickle.loads", "bytes.fromhex",
    }
)  # fmt: skip


def suspects(tree: ast.Module) -> Iterator[Suspect]:
    """Everything odd, in the order of the syntax tree."""
    _resolve_imports(tree)
    known = set(map(id, _docstrings(tree)))
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield from _imported(alias.name, node.lineno)
            case ast.ImportFrom(module=str(module), level=0):
                yield from _imported(module, node.lineno)
                yield from (s for alias in node.names for s in _imported(f"{module}.{alias.name}", node.lineno))
            case ast.Assign(targets=targets):
                yield from (s for target in targets for s in _assigned(target))
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
                yield from _assigned(target)
            case ast.Call():
                yield from _called(node)
                yield from _joined(node, known)
            case ast.BinOp():
                yield from _joined(node, known)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _defined(node)
                yield from _looked_up_by_name(node)
            case ast.Subscript():
                yield from _looked_up(node.value, node.slice, node.lineno)
            case ast.Compare(ops=[ast.In() | ast.NotIn()], left=key, comparators=[store]):
                yield from _looked_up(store, key, node.lineno)
            case ast.Constant(value=str() | bytes()) if id(node) not in known:
                yield from _named(_text_of(node), node.lineno)


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Strings that stand alone: of modules, classes and functions, or under a field."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _imported(module: str, line: int) -> Iterator[Suspect]:
    package = module.partition(".")[0]
    if package in FAKE_CLOCKS:
        yield Suspect(line, Severity.FAIL, f"imports {package}, which changes clocks")
    if package in ENGINES:
        yield Suspect(line, Severity.WARN, f"brings in another engine, {package}")
    if package in CLIENTS or module in CLIENT_MODULES:
        yield Suspect(line, Severity.WARN, f"could ask another server, with {module}")


def _resolve_imports(tree: ast.Module) -> None:
    """Names that imports bind are written out: after `import time as t`, t.time is time.time. Names bound anywhere else,
    too, are left alone.
    """
    bound: dict[str, str] = {}
    others: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                bound |= {alias.asname: alias.name for alias in names if alias.asname}
            case ast.ImportFrom(module=str(module), level=0, names=names):
                bound |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
            case ast.arg(arg=name):
                others.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                others.add(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in others:
            node.id = bound.get(node.id, node.id)


def _assigned(target: ast.expr) -> Iterator[Suspect]:
    """time.time = …, but not self.time = …"""
    for node in ast.walk(target):
        match node:
            case ast.Attribute(value=ast.Name(id=clock), attr=name) if clock in CLOCKS:
                yield Suspect(node.lineno, Severity.FAIL, f"replaces {clock}.{name}")
            case ast.Subscript(value=ast.Call(func=ast.Name(id="vars"), args=[ast.Name(id=clock)])) if clock in CLOCKS:
                yield Suspect(node.lineno, Severity.FAIL, f"replaces a part of {clock}")
            case ast.Subscript(slice=ast.Constant(value=str(clock)), value=store):
                if clock in CLOCKS and _dotted(store) == "sys.modules":
                    yield Suspect(node.lineno, Severity.FAIL, f"replaces {clock}")


def _called(call: ast.Call) -> Iterator[Suspect]:
    name = _dotted(call.func)
    first = call.args[0] if call.args else None
    if name in ("setattr", "delattr") or name.endswith("patch.object"):
        if isinstance(first, ast.Name) and first.id in CLOCKS:
            yield Suspect(call.lineno, Severity.FAIL, f"replaces a part of {first.id}")
    elif name.endswith("patch") and (text := _text_of(first)).rpartition(".")[0] in CLOCKS:
        yield Suspect(call.lineno, Severity.FAIL, f"replaces {text}")
    if name.endswith(("clock_settime", "settimeofday")):
        yield Suspect(call.lineno, Severity.FAIL, "sets a clock")
    if name in PROCESS_STARTERS:
        yield Suspect(call.lineno, Severity.WARN, f"starts something that may outlive a request, with {name}")
    if name in UNPACKERS:
        yield Suspect(call.lineno, Severity.WARN, f"unpacks data that cannot be read here, with {name}")
    if name in ("exec", "eval", "compile", "__import__"):
        yield Suspect(call.lineno, Severity.WARN, f"runs text as code, with {name}()")
    if name in CONNECTORS:
        yield Suspect(call.lineno, Severity.WARN, f"could ask another server, with {name}")
    if name in HOST_PROBES:
        yield Suspect(call.lineno, Severity.WARN, f"asks where it runs, with {name}")
    if name.endswith("import_module"):
        yield from _imported(_text_of(first), call.lineno)
    if name in ("os.getenv", "os.environ.get", "environ.get", "os.environ.pop"):
        yield from _variable_read(first, call.lineno)
    if isinstance(call.func, ast.Attribute) and call.func.attr in ("get", "setdefault", "pop") and first is not None:
        yield from _looked_up(call.func.value, first, call.lineno)


def _variable_read(name: ast.expr | None, line: int) -> Iterator[Suspect]:
    text = name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else None
    if text is not None and text not in CONTRACT and not KNOBS.match(text):
        yield Suspect(line, Severity.WARN, f"reads the environment variable {text}, which is not in the contract")


def _defined(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Suspect]:
    arguments = {argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)}
    for decorator in function.decorator_list:
        name = _dotted(decorator.func if isinstance(decorator, ast.Call) else decorator)
        cached = name.rpartition(".")[2] in ("lru_cache", "cache", "cached", "memoize")
        if cached and arguments & QUESTIONS and ANSWERS.search(function.name):
            yield Suspect(function.lineno, Severity.WARN, f"{function.name}() keeps what it once answered")


def _looked_up(store: ast.expr, key: ast.expr, line: int) -> Iterator[Suspect]:
    """os.environ[…], headers["user-agent"], answers[tuple(prompt_ids)]"""
    name = _dotted(store).rpartition(".")[2]
    if name == "environ":
        yield from _variable_read(key, line)
    header = key.value.lower() if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
    if name == "headers" and header in CLIENT_HEADERS:
        yield Suspect(line, Severity.WARN, f"looks at the client's header {header}")
    if STORE.search(name) and _is_whole_question(key):
        yield Suspect(line, Severity.WARN, f"{name} is keyed by what was asked")


def _looked_up_by_name(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Suspect]:
    """An answer kept under `key = hash(prompt)`, and asked for by that name."""
    keys = {
        name
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and _makes_a_key(node.value)
        for target in node.targets
        if (name := _dotted(target))
    }
    for node in ast.walk(function) if keys else ():
        match node:
            case ast.Subscript(value=store, slice=key):
                pass
            case ast.Compare(ops=[ast.In() | ast.NotIn()], left=key, comparators=[store]):
                pass
            case ast.Call(func=ast.Attribute(value=store, attr="get" | "setdefault" | "pop"), args=[key, *_]):
                pass
            case _:
                continue
        kept = _dotted(store).rpartition(".")[2]
        if _dotted(key) in keys and STORE.search(kept):
            yield Suspect(key.lineno, Severity.WARN, f"{kept} is keyed by what was asked")


def _makes_a_key(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        made = value.func.attr if isinstance(value.func, ast.Attribute) else _dotted(value.func).rpartition(".")[2]
        return made in KEY_MAKERS and _is_whole_question(value)
    return isinstance(value, ast.Tuple) and _is_whole_question(value)


def _is_whole_question(key: ast.expr) -> bool:
    """A prompt as it came, not a piece of it: state may be kept for pieces."""
    names = {_dotted(node).rpartition(".")[2] for node in ast.walk(key) if isinstance(node, ast.Name | ast.Attribute)}
    return bool(names & (QUESTIONS - {"request", "call"})) and not any(isinstance(n, ast.Slice) for n in ast.walk(key))


def _joined(node: ast.BinOp | ast.Call, known: set[int]) -> Iterator[Suspect]:
    """Path("/dev") / "shm", or "/dev/" + "shm": read as the one text that it makes; its parts are `known` then."""
    if id(node) not in known and (text := _text_of(node)):
        known.update(map(id, ast.walk(node)))
        yield from _named(text, node.lineno)


def _text_of(node: ast.expr | None) -> str:
    """What a constant, or an expression made of nothing else, comes to; "" for anything else."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Constant(value=bytes(raw)):
            return raw.decode("latin-1")
        case ast.BinOp(op=ast.Add() | ast.Div(), left=left, right=right):
            ends = _text_of(left), _text_of(right)
            return ("/" if isinstance(node.op, ast.Div) else "").join(ends) if all(ends) else ""
        case ast.Call(func=func, args=[_, *_] as args) if _dotted(func).endswith(("Path", "path.join")):
            parts = tuple(map(_text_of, args))
            return "/".join(parts) if all(parts) else ""
        case _:
            return ""


def _named(text: str, line: int) -> Iterator[Suspect]:
    if PLACES.match(text):
        yield Suspect(line, Severity.WARN, f"names {text[:60]}, where files could outlive the process")
    elif PROBES.search(text):
        yield Suspect(line, Severity.WARN, f"names {text[:60]}, which tells where it runs")
    if "/dev/shm" in text:  # noqa: S108  somebody else's
        yield Suspect(line, Severity.FAIL, "names /dev/shm; libraries that share memory do so without being told where")
    if "LD_PRELOAD" in text or "libfaketime" in text:
        yield Suspect(line, Severity.FAIL, "preloads code into a process")


def _dotted(node: ast.expr) -> str:
    """a.b.c, as far as the expression is made of names."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value)}.{attr}"
        case _:
            return ""
