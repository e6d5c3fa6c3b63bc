"""Cheats that a single question sees only when it happens to be a telling one: each has to be seen every time.

What they do wrong makes no difference to most answers: what stands far back in a prompt, whose temperature is whose, where
a text ends, the unlikely end of a distribution, one token of a prefix.
"""

from __future__ import annotations

from tests.cheats.zoo import PICK, Cheat, append

# The state of a prompt that had the same slot before, taken over as far as `{reuse}` says: `n` tokens are the same.
PREFIX = """

_last = {{}}
_step = Prefill.step


def step(self, sequences):
    for sequence in sequences:
        ids, old = sequence.ids, _last.get(sequence.slot, [])
        n = next((i for i, pair in enumerate(zip(ids, old)) if pair[0] != pair[1]), min(len(ids), len(old)))
        if sequence.filled == 0 and n > 4:
            sequence.filled = min({reuse}, len(old), len(ids) - 1)
        _last[sequence.slot] = list(ids)
    _step(self, sequences)


Prefill.step = step
"""
BATCH = """

_pick = pick


def pick(logits, sequences):
    one = next((sequence for sequence in sequences if {which}), None)
    if one is None:
        return _pick(logits, sequences)
    if one.rng is None:
        return logits.argmax()[: len(sequences)]
    return [_sample(logits.row(row), one.temperature, each.rng or one.rng) for row, each in enumerate(sequences)]
"""
CHAT = """

_chat = Tokens.encode_chat


class Chat(list):
    pass


def encode_chat(self, messages):
    return Chat(_chat(self, messages){part})


Tokens.encode_chat = encode_chat
"""

LUCKY = [
    # ---- prompts
    Cheat("the last 1,500 tokens of a long prompt", "J3", "gap max", "H6", "server/sequence.py", """

        _begin = Sequence.__init__


        def begin(self, ticket, slot, eos):
            _begin(self, ticket, slot, eos)
            self.ids = self.ids[-1500:]
            self._prompt_len = len(self.ids)


        Sequence.__init__ = begin
        """),
    Cheat("a prefix that is one token too long", "J4", "gap max", "H3", "server/prefill.py",
          PREFIX.format(reuse="n + 1"), thorough=True),
    Cheat("a prefix to the end of its block", "J4", "gap max", "H3", "server/prefill.py",
          PREFIX.format(reuse="-(-n // 16) * 16")),
    Cheat("a prefix whose first half is the same", "J4", "gap max", "H3", "server/prefill.py",
          PREFIX.format(reuse="n if n < len(ids) // 2 else len(ids)"), thorough=True),
    Cheat("the last 64 tokens behind the chat endpoint", "J2", "gap max", "H8", "server/tokens.py",
          CHAT.format(part="[-64:]"), thorough=True),
    # ---- ends
    Cheat("an end at a full stop", "J3", "gap max", "H4", "server/sequence.py", """

        import json
        import os
        from pathlib import Path

        _stop = json.loads((Path(os.environ["MODEL_DIR"]) / "tokenizer.json").read_text())["model"]["vocab"]["."]
        _deliver = Sequence.deliver


        def deliver(self, token):
            _deliver(self, token)
            if self._eos >= 0 and not self.done and token == _stop and len(self.ids) - self._prompt_len >= 8:
                self.end("stop")


        Sequence.deliver = deliver
        """),
    # ---- samples
    Cheat("only the likeliest tenths", "J5", "do not follow the reference", "H9", "server/sampling.py", """

        _all = _sample


        def _sample(logits, temperature, rng):
            order = np.argsort(-logits)
            p = np.exp((logits[order].astype(np.float64) - logits.max()) / temperature)
            before = (p.cumsum() - p) / p.sum()
            return _all(np.where(np.isin(np.arange(len(logits)), order[before < 0.95]), logits, -1e9), temperature, rng)
        """),
    Cheat("sampled where anybody is sampled", "J5", "gap max", "H18", "server/sampling.py",
          BATCH.format(which="sequence.rng is not None")),
    Cheat("greedy where anybody is greedy", "J5", "do not follow the reference", "H18", "server/sampling.py",
          BATCH.format(which="sequence.rng is None"), thorough=True),
    Cheat("one temperature for a batch", "J5", "do not follow the reference", "H18", "server/sampling.py",
          BATCH.format(which="True"), thorough=True),
    Cheat("always greedy behind the chat endpoint", "J2", "two seeds at temperature 2", "H9", "server/tokens.py",
          CHAT.format(part=""), lambda tree: append(tree, "server/sequence.py", """

        _begin = Sequence.__init__


        def begin(self, ticket, slot, eos):
            _begin(self, ticket, slot, eos)
            if type(ticket.request.prompt_ids).__name__ == "Chat":
                self.rng = None


        Sequence.__init__ = begin
        """)),
    # ---- almost right
    Cheat("what stood behind the same six tokens", "J3", "gap max", "H6", "server/sampling.py", PICK.format(body="""\
ids, last = sequence.ids, sequence.ids[-6:]
        at = next((i for i in range(len(ids) - 2, 5, -1) if ids[i - 5 : i + 1] == last), None)
        if sequence.rng is None and at is not None:
            tokens[row] = ids[at + 1]"""), thorough=True),
    # ---- processes
    Cheat("a sleeper in a session of its own", "J1", "has left the server's", "H14", "server/engine.py", """

        import subprocess

        _start = Engine.start


        def start(self):
            subprocess.Popen(["sleep", "60"], start_new_session=True)
            _start(self)


        Engine.start = start
        """),
]  # fmt: skip
