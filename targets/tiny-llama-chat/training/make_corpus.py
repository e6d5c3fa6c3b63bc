"""Writes the benchmark's held-out conversations as JSON lines: python make_corpus.py MODEL_DIR OUT_FILE [COUNT]

Each line is ``{"id", "messages"}``; rendered with the chat template it has 200 to 420 tokens and ends with a question,
so that a prompt of any length below that can be cut from its front and still ends where an answer begins. Topics are
mixed as in training (chats, JSON extraction, look-ups, code edits), but the seed differs from training's and from
that of the evaluation sets, and code and docstrings come from the held-out files of the standard library only.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer

import tasks

SEED = 20_261_121
SHORTEST, LONGEST = 200, 420
TOPICS = ["chat", "chat", "chat", "json", "json", "edit", "edit", "rag"]


def held_out_edits() -> tuple[tasks.Corpus, tasks.CodeEdits]:
    corpus = tasks.load_corpus("test")
    seen = set(tasks.load_corpus("train").funcs)
    corpus.funcs = [code for code in corpus.funcs if code not in seen]  # a few functions exist in several files
    words = Counter(word for code in corpus.funcs for word in re.findall(r"\b[a-z]{3,10}\b", code))
    return corpus, tasks.CodeEdits(corpus, sorted(word for word in words if word not in tasks.KEYWORDS))


def turns(r: random.Random, corpus: tasks.Corpus, edits: tasks.CodeEdits, first: bool) -> list[tuple[str, str]]:
    topic = r.choice(TOPICS)
    if topic == "json":
        return tasks.json_task(r, varied=True).turns
    if topic == "edit":
        return edits(r, 500, varied=True).turns
    if topic == "rag" and first:  # its facts are a system message, which can only open a conversation
        return tasks.rag_task(r, r.randint(8, 24), r.randint(2, 5), varied=True).turns
    return tasks.chat_task(r, corpus, edits).turns


def rendered(messages: list[dict[str, str]]) -> str:
    """The chat template of tokenizer_config.json."""
    text = "<|bos|>"
    for message in messages:
        text += f"<|{message['role']}|>{message['content']}" + ("<|end|>" if message["role"] == "assistant" else "")
    return text + "<|assistant|>"


def conversation(r: random.Random, corpus: tasks.Corpus, edits: tasks.CodeEdits, tokenizer: Tokenizer) -> list[dict[str, str]] | None:
    """Turns until it is long enough; None if the last one made it too long."""
    messages: list[dict[str, str]] = []
    length = 0
    while length < SHORTEST:
        messages += [{"role": role, "content": text} for role, text in turns(r, corpus, edits, not messages)]
        length = len(tokenizer.encode(rendered(messages[:-1]), add_special_tokens=False).ids)
    return messages[:-1] if length <= LONGEST else None


def main() -> None:
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 640
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    corpus, edits = held_out_edits()
    r = random.Random(SEED)
    lines: list[str] = []
    while len(lines) < count:
        messages = conversation(r, corpus, edits, tokenizer)
        if messages is not None:
            lines.append(json.dumps({"id": f"held-out-{len(lines):03d}", "messages": messages}) + "\n")
    out.write_text("".join(lines))


if __name__ == "__main__":
    main()
