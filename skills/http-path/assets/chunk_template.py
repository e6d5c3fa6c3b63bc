"""Chunks of a stream from a template: from token to token only text, ids and the reason to finish change."""

import json
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted

from server.protocol import Answer, Call
from server.tokens import Tokens


class TemplateAnswer(Answer):
    """An Answer whose chunks say the same, but are not built as dictionaries first."""

    def __init__(self, call: Call, tokens: Tokens) -> None:
        super().__init__(call, tokens)
        head = json.dumps({**self._head, "object": self._chunk_kind})[:-1]
        opening, self._closing = ('"delta": {"content": ', "}") if call.chat else ('"text": ', "")
        self._before = f'data: {head}, "choices": [{{"index": 0, "logprobs": null, {opening}'

    def chunk(self, ids: Sequence[int], text: str) -> bytes:
        first = len(self._ids) == len(ids)
        if self.finish == "error" or (first and self._call.chat):
            return super().chunk(ids, text)
        token_ids = f', "token_ids": {list(ids)}' if self._call.return_token_ids else ""
        finish = f'"{self.finish}"' if self.finish else "null"
        chunk = f'{self._before}{quoted(text)}{self._closing}{token_ids}, "finish_reason": {finish}}}]}}\n\n'
        return chunk.encode("ascii")
