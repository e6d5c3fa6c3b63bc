"""A target's corpus as token ids, and prompts of any wanted length cut out of it.

Prompts are made of ids, not of text: re-tokenised text is not unique, so only ids give exactly
the declared length and the same input to server and reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from vibeserve_tui.errors import BackendError, InputError, TargetError
from vibeserve_tui.evaluation.strict_json import Fields, Json, parse

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTENT_MARK = "\u2402content\u2403"  # stands for a message while the chat template is taken apart


@dataclass(frozen=True, slots=True)
class Corpus:
    """The corpus of one target under its own tokenizer."""

    opening: tuple[int, ...]
    """What every prompt begins with: the template up to the user's words."""
    closing: tuple[int, ...]
    """What every prompt ends with: the template behind them."""
    separator: tuple[int, ...]
    stream: tuple[int, ...]
    """All texts, one behind the other."""
    questions: tuple[tuple[int, ...], ...]
    """Last user message of each conversation, kept at the end of a prompt; empty for plain text."""
    tokenizer: Tokenizer
    vocabulary: int
    """Ids that the model can say; it may have some that its tokenizer has no text for."""
    sha256: str
    """Over corpus, tokenizer and template."""

    @property
    def overhead(self) -> int:
        return len(self.opening) + len(self.closing)

    def content(self, draw: Random, length: int) -> tuple[int, ...]:
        """`length` ids: a question behind whatever stands somewhere in the corpus.

        At most half is the question: the other half makes prompts differ from their first tokens on, window after
        window, so that neither a prefix cache nor a cache of answers finds a prompt again.
        """
        question: tuple[int, ...] = ()
        if self.questions:
            question = (*self.separator, *draw.choice(self.questions)[-(length // 2) :]) if length > 1 else ()
            question = question[-length:]
        return self.passage(draw, length - len(question)) + question

    def passage(self, draw: Random, length: int) -> tuple[int, ...]:
        """`length` consecutive ids from anywhere, going round where the corpus ends."""
        begin = draw.randrange(len(self.stream))
        ids = self.stream[begin : begin + length]
        while len(ids) < length:
            ids += self.stream[: length - len(ids)]
        return ids

    def prompt(self, content: Sequence[int]) -> tuple[int, ...]:
        return (*self.opening, *content, *self.closing)

    def text(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text


def read_corpus(path: Path, model_dir: Path) -> Corpus:
    """`path`: JSON lines with `messages` (all of them) or `text` (all of them); other keys are the target's own."""
    conversations, texts = _read_lines(path)
    tokenizer = _tokenizer(model_dir)
    template = _chat_template(model_dir) if conversations else ("", "")
    separator = _encode(tokenizer, "\n\n")
    stream: list[int] = []
    for text in texts:
        stream += (*_encode(tokenizer, text), *separator)
    if conversations:
        opening, closing = (_encode(tokenizer, part) for part in template)
    else:
        opening, closing = tuple(tokenizer.encode("").ids), ()
    parts = (path.read_bytes(), (model_dir / "tokenizer.json").read_bytes(), json.dumps(template).encode())
    return Corpus(
        opening=opening,
        closing=closing,
        separator=separator,
        stream=tuple(stream),
        questions=tuple(_encode(tokenizer, question) for question in conversations),
        tokenizer=tokenizer,
        vocabulary=max(tokenizer.get_vocab_size(), _declared_vocabulary(model_dir)),
        sha256=hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest(),
    )


def _read_lines(path: Path) -> tuple[list[str], list[str]]:
    """(last user messages, all texts)."""
    conversations: list[str] = []
    texts: list[str] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"the corpus cannot be read: {error}", where=str(path)) from error
    for number, line in enumerate(lines, 1):
        where = f"{path}:{number}"
        try:
            record = parse(line, where)
            contents = _contents(record, where)
        except InputError as error:
            raise TargetError(error.what, where=where) from error
        texts += contents
        if isinstance(record, dict) and "messages" in record:
            conversations.append(contents[-1])
    if not texts:
        raise TargetError("the corpus is empty", where=str(path), fix="give it lines with `messages` or `text`")
    if conversations and len(conversations) != len(lines):
        raise TargetError(
            "some lines have `messages` and others `text`", where=str(path), fix="make two targets of them"
        )
    return conversations, texts


def _contents(record: Json, where: str) -> list[str]:
    """The texts of one line, a conversation's last user message at the end."""
    fields = Fields(record, where)
    if not isinstance(record, dict) or "messages" not in record:
        return [fields.text("text")]
    contents = []
    role = ""
    for index, message in enumerate(fields.array("messages")):
        inner = Fields(message, f"{where}: messages[{index}]")
        role = inner.text("role")
        contents.append(inner.text("content"))
    if role != "user":
        raise InputError("the last of `messages` is not the user's", where=where)
    return contents


def _tokenizer(model_dir: Path) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BackendError(
            "the package `tokenizers` is missing, which prompts are cut with", fix="pip install 'vibeserve-tui[cpu]'"
        ) from error
    path = model_dir / "tokenizer.json"
    try:
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the Rust library raises bare Exception for a file it does not understand
        raise TargetError(f"the tokenizer cannot be read: {error}", where=str(path)) from error


def _declared_vocabulary(model_dir: Path) -> int:
    """Of config.json, also where it describes the text's part of a larger model; 0 where nothing is declared."""
    path = model_dir / "config.json"
    try:
        config = parse(path.read_bytes(), str(path))
    except (OSError, InputError):
        return 0
    parts = [config, config.get("text_config")] if isinstance(config, dict) else []
    declared = [part.get("vocab_size") for part in parts if isinstance(part, dict)]
    return max((size for size in declared if isinstance(size, int)), default=0)


def _encode(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False).ids)


def _chat_template(model_dir: Path) -> tuple[str, str]:
    """What the model's own template writes before and behind a single user message."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    path = model_dir / "tokenizer_config.json"
    try:
        config = parse(path.read_bytes(), str(path))
    except (OSError, InputError) as error:
        raise TargetError(f"the tokenizer's configuration cannot be read: {error}", where=str(path)) from error
    if not isinstance(config, dict):
        raise TargetError("an object is needed", where=str(path))
    # The settings and names that transformers renders chat templates with.
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    names = {name: _special(config.get(name)) for name in ("bos_token", "eos_token", "pad_token")}
    messages = [{"role": "user", "content": CONTENT_MARK}]
    try:
        template = environment.from_string(_template_text(model_dir, config))
        rendered = template.render(messages=messages, add_generation_prompt=True, **names)
    except TemplateError as error:
        raise TargetError(f"the chat template fails: {error}", where=str(path)) from error
    opening, mark, closing = rendered.partition(CONTENT_MARK)
    if not mark:
        raise TargetError("the chat template drops the user's message", where=str(path))
    return opening, closing


def _template_text(model_dir: Path, config: Mapping[str, Json]) -> str:
    beside = model_dir / "chat_template.jinja"
    if beside.is_file():
        return beside.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if not isinstance(template, str):
        raise TargetError(
            "the model has no chat template",
            where=str(model_dir / "tokenizer_config.json"),
            fix='add `chat_template`, or make the corpus plain `text` with workload.kind = "text"',
        )
    return template


def _special(value: Json) -> str:
    """A special token is written as text or as an object around it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else ""
