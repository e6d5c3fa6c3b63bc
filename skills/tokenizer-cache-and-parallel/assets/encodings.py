"""The encodings of texts that came lately. They are input to the model: no answer is ever kept here."""

from collections.abc import Callable

from tokenizers import Encoding

from server import counters


class Encodings:
    """Stands in for the tokenizer's own `encode`."""

    def __init__(self, encode: Callable[..., Encoding], entries: int) -> None:
        self._encode = encode
        self._entries = entries
        self._known: dict[tuple[str, bool], Encoding] = {}

    def __call__(self, text: str, add_special_tokens: bool = True) -> Encoding:
        key = text, add_special_tokens
        encoding = self._known.pop(key, None)
        if encoding is None:
            encoding = self._encode(text, add_special_tokens=add_special_tokens)
            if len(self._known) >= self._entries:
                del self._known[next(iter(self._known))]
        else:
            counters.add("encodings_reused")
        # Taken out and put back in: the first entry is always the one not used for the longest time.
        self._known[key] = encoding
        return encoding
