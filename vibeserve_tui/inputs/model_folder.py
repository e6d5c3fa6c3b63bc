"""A folder of weights: what shape the model has, and whether the files are safe to load.

Reads headers and configuration only; no framework is imported and nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.errors import TargetError
from vibeserve_tui.inputs.target_files import MODEL_TREE, tree_digest
from vibeserve_tui.inputs.target_sections import ModelSpec
from vibeserve_tui.inputs.toml_files import Fault, read_text

_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})
# A pickle of protocol 2 or later, and the ZIP archive that torch.save writes around one.
_PICKLE_MAGIC = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
# Their headers are checked instead: a safetensors file with a 640-byte header begins like a pickle.
_OWN_CHECK = frozenset({".safetensors", ".gguf"})
_MAX_HEADER_BYTES = 16 << 20  # a model of 100,000 tensors needs about 10 MB
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U8": 8, "BOOL": 8,
         "F8_E4M3": 8, "F8_E5M2": 8, "U16": 16, "U32": 32, "U64": 64}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """Offset into the data that follows the header."""
    end: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What costs and preconditions are computed from."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool
    """Whether the output head reads the embedding's weights."""
    max_context: int
    attention: str
    """full | sliding | hybrid"""
    parameters: int
    weight_bytes: int


def read_model_shape(model_dir: Path) -> ModelShape:
    """The shape that config.json and the weights' headers declare; TargetError names what is missing."""
    path = model_dir / "config.json"
    config = _read_config(path)
    tensors = [
        tensor for file in sorted(model_dir.glob("*.safetensors")) for tensor in safetensors_header(file).values()
    ]
    hidden, heads = _integer(config, "hidden_size", path), _integer(config, "num_attention_heads", path)
    return ModelShape(
        architecture=_text(config, "model_type", path),
        layers=_integer(config, "num_hidden_layers", path),
        hidden=hidden,
        heads=heads,
        kv_heads=_integer(config, "num_key_value_heads", path, default=heads),
        head_dim=_integer(config, "head_dim", path, default=hidden // heads),
        ffn=_integer(config, "intermediate_size", path),
        vocab=_integer(config, "vocab_size", path),
        tied=config.get("tie_word_embeddings") is True,
        max_context=_integer(config, "max_position_embeddings", path),
        attention=_attention(config),
        parameters=sum(math.prod(tensor.shape) for tensor in tensors),
        weight_bytes=sum(tensor.end - tensor.begin for tensor in tensors),
    )


def stored_dtype(model_dir: Path) -> str:
    """The one half-precision type of all matrices, in which an engine may keep them without loss; "" if there is none."""
    files = sorted(model_dir.glob("*.safetensors"))
    dtypes = {t.dtype for file in files for t in safetensors_header(file).values() if len(t.shape) == 2}
    return {"BF16": "bfloat16", "F16": "float16"}.get(dtypes.pop(), "") if len(dtypes) == 1 else ""


def has_chat_template(model_dir: Path) -> bool:
    if (model_dir / "chat_template.jinja").is_file():
        return True
    path = model_dir / "tokenizer_config.json"
    return path.is_file() and "chat_template" in _read_config(path)


def safetensors_header(path: Path) -> dict[str, Tensor]:
    """Name and place of every tensor; a file whose header does not fit its size is refused."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise _not_safetensors(path, "it does not begin with a header")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise _not_safetensors(path, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise _not_safetensors(path, "its header is not a table")
    return {name: _tensor(path, entry, size - 8 - length) for name, entry in header.items() if name != "__metadata__"}


def _tensor(path: Path, entry: object, data_bytes: int) -> Tensor:
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            0 <= begin <= end <= data_bytes
            and dtype in _BITS
            and all(isinstance(length, int) and length >= 0 for length in shape)
            and math.prod(shape) * _BITS[dtype] == (end - begin) * 8
        ):
            return Tensor(dtype, tuple(shape), begin, end)
    raise _not_safetensors(path, "its header does not fit the data")


def _not_safetensors(path: Path, why: str) -> TargetError:
    return TargetError(f"is not a safetensors file: {why}", where=str(path), fix="convert the weights once, in a box")


def model_faults(model_dir: Path, spec: ModelSpec) -> Iterator[Fault]:
    """What keeps the folder from being the model that [model] declares."""
    if not model_dir.is_dir():
        yield Fault("model.path", f"there is no folder {model_dir}", "put the weights there, or correct the path")
        return
    pickles = sorted(path.name for path in model_dir.iterdir() if path.is_file() and _is_pickle(path))
    if pickles:
        yield Fault(
            "model.format",
            f"{pickles[0]} is a pickle, which runs code when it is loaded",
            "convert it to safetensors once, in a box, and remove it",
        )
    try:
        yield from _format_faults(model_dir, spec)
        if spec.sha256 is not None and (found := tree_digest(model_dir, MODEL_TREE)) != spec.sha256:
            yield Fault("model.sha256", f"the files have digest {found}", "restore the files, or write this digest")
    except TargetError as problem:
        yield Fault("model.path", f"{problem.where}: {problem.what}", problem.fix)


def _is_pickle(path: Path) -> bool:
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        return True
    if path.suffix in _OWN_CHECK:
        return False
    with path.open("rb") as file:
        return file.read(4).startswith(_PICKLE_MAGIC)


def _format_faults(model_dir: Path, spec: ModelSpec) -> Iterator[Fault]:
    suffix = ".gguf" if spec.format == "gguf" else ".safetensors"
    files = sorted(model_dir.glob(f"*{suffix}"))
    if not files:
        yield Fault("model.format", f"{model_dir} holds no {suffix} file", "correct the format, or add the weights")
    for file in files:
        if spec.format == "gguf":
            with file.open("rb") as content:
                if content.read(4) != b"GGUF":
                    yield Fault("model.format", f"{file.name} is not a GGUF file", "replace it")
        else:
            safetensors_header(file)
    if spec.format != "gguf":
        path = model_dir / "config.json"
        config = _read_config(path)
        if (architecture := _text(config, "model_type", path)) != spec.architecture:
            yield Fault("model.architecture", f"config.json says {architecture!r}", f'architecture = "{architecture}"')
        longest = config.get("max_position_embeddings")
        if isinstance(longest, int) and spec.max_context > longest:
            yield Fault("model.max_context", f"config.json allows {longest}", f"at most {longest}")


def find_in_hub_cache(model_id: str, revision: str, environment: Mapping[str, str]) -> Path | None:
    """The folder of an already downloaded revision; nothing is ever fetched."""
    home = environment.get("HF_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache" / "huggingface"
    cache = Path(environment.get("HF_HUB_CACHE") or Path(home) / "hub")
    folder = cache / f"models--{model_id.replace('/', '--')}" / "snapshots" / revision
    return folder if folder.is_dir() else None


def _read_config(path: Path) -> Mapping[str, object]:
    try:
        config = json.loads(read_text(path, TargetError))
    except (ValueError, RecursionError):
        raise TargetError("is not JSON", where=str(path), fix="restore the model's own config.json") from None
    if not isinstance(config, dict):
        raise TargetError("is not a JSON object", where=str(path), fix="restore the model's own config.json")
    inner = config.get("text_config")  # multimodal models keep the language model's values apart
    return {**inner, **config} if isinstance(inner, dict) else config


def _integer(config: Mapping[str, object], key: str, path: Path, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TargetError(f"{key} is missing or not a positive number", where=str(path), fix="restore the file")
    return value


def _text(config: Mapping[str, object], key: str, path: Path) -> str:
    value = config.get(key)
    if not isinstance(value, str):
        raise TargetError(f"{key} is missing", where=str(path), fix="restore the model's own config.json")
    return value


def _attention(config: Mapping[str, object]) -> str:
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and kinds:
        if all(kind == "full_attention" for kind in kinds):
            return "full"
        return "sliding" if all("attention" in str(kind) and "linear" not in str(kind) for kind in kinds) else "hybrid"
    return "sliding" if config.get("sliding_window") and config.get("use_sliding_window") is not False else "full"
