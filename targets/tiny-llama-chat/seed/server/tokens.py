"""Text to token ids and back: tokenizer, chat template, streaming detokeniser with stop strings.

The detokeniser never emits half a UTF-8 character, nor text that may turn out to be the beginning of a stop string.
"""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
from tokenizers import Tokenizer


class Tokens:
    def __init__(self, model_dir: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        # region: tokens.encode
        self._encode = self._tokenizer.encode
        # endregion: tokens.encode
        settings = json.loads((model_dir / "tokenizer_config.json").read_text(encoding="utf-8"))
        self._template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(settings["chat_template"])
        self.vocab = self._tokenizer.get_vocab_size()
        self._bytes = _bytes_of_tokens(self._tokenizer)

    def encode(self, text: str) -> list[int]:
        return self._encode(text).ids

    def encode_chat(self, messages: Sequence[dict[str, str]]) -> list[int]:
        prompt = self._template.render(messages=messages, add_generation_prompt=True)
        return self._encode(prompt, add_special_tokens=False).ids

    def stream(self, stop: Sequence[str]) -> "TextStream":
        return TextStream(self._bytes, stop)


class TextStream:
    """The text of one growing answer; `push` returns what may be shown now."""

    def __init__(self, token_bytes: Sequence[bytes], stop: Sequence[str]) -> None:
        self._token_bytes = token_bytes
        self._stop = stop
        # A byte-level token may end inside a character: the decoder keeps the unfinished bytes for the next one.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False

    def push(self, ids: Sequence[int], *, last: bool = False) -> str:
        new = self._decoder.decode(b"".join([self._token_bytes[i] for i in ids]), last)
        if not self._stop:
            return new
        if self.stopped:
            return ""
        text = self._held + new
        cut = min((at for at in map(text.find, self._stop) if at >= 0), default=-1)
        if cut >= 0:
            self.stopped, self._held = True, ""
            return text[:cut]
        keep = 0 if last else max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _bytes_of_tokens(tokenizer: Tokenizer) -> list[bytes]:
    """Byte-level BPE writes every byte as one printable character; special tokens have no text of their own."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    unprintable = [byte for byte in range(256) if byte not in set(printable)]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of.update({chr(256 + i): byte for i, byte in enumerate(unprintable)})

    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    names = [tokenizer.id_to_token(i) or "" for i in range(tokenizer.get_vocab_size())]
    return [b"" if i in special else bytes(byte_of[c] for c in name) for i, name in enumerate(names)]
