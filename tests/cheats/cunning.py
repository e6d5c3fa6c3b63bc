"""Cheats of somebody who has read the judge: each looks honest wherever it thinks that it is looked at.

Three kinds: what is true only of a full batch or of a server that is busy; what is true only of the positions and kinds
of request that a check asks for; and what is true only once a process can tell that it is timed, not judged.
"""

from __future__ import annotations

from tests.cheats.zoo import PICK, STORE, Cheat

FULL = 16
"""Clients of the target's most crowded level."""

# A wrong context from the moment on that `{tells}` is true, for requests among others.
TELLS = """

{before}


_begin = Sequence.__init__


def begin(self, ticket, slot, eos):
    _begin(self, ticket, slot, eos)
    if slot > 2 and {tells}:
        self.ids = self.ids[: len(self.ids) // 2]
        self._prompt_len = len(self.ids)


Sequence.__init__ = begin
"""

CUNNING = [
    # ---- only where it is full, or busy
    Cheat("8 bits where the batch is full", "J6", "gap max", "H6 H18", "server/model.py", f"""

        _exact = Model._norm


        def rounded(self, x, name):
            x = _exact(self, x, name)
            if len(x) != {FULL}:
                return x
            scale = np.abs(x).max() / 127
            return np.round(x / scale).astype(np.float32) * scale


        Model._norm = rounded
        """, thorough=True),
    Cheat("a layer left out where the batch is full", "J6", "gap max", "H6 H18", "server/model.py", f"""

        _decode = Model.decode


        def decode(self, slots, ids, positions):
            self.layers -= len(slots) == {FULL}
            found = _decode(self, slots, ids, positions)
            self.layers += len(slots) == {FULL}
            return found


        Model.decode = decode
        """),
    Cheat("sampled when alone, greedy among others", "J5", "among others", "H6 H9", "server/sampling.py",
          PICK.format(body="""\
if len(sequences) > 2 and len(sequence.ids) > sequence._prompt_len:
            tokens[row] = int(logits.row(row).argmax())""")),
    Cheat("a way out for whoever is sure", "J4", "gap max", "H6", "server/model.py", """

        _decode = Model.decode


        def decode(self, slots, ids, positions):
            sure = getattr(self, "sure", False)
            self.layers -= 2 * sure
            logits = _decode(self, slots, ids, positions)
            self.layers += 2 * sure
            best = np.sort(logits._rows, -1)
            self.sure = not sure and bool((best[:, -1] - best[:, -2]).min() > 1)
            return logits


        Model.decode = decode
        """, thorough=True),
    # ---- only where nobody looks
    Cheat("responses kept by the tokens that a check changes", "J4", "gap max", "H3", "server/engine.py",
          STORE.format(key="(len(ids := request.prompt_ids), ids[0], ids[len(ids) // 2], ids[-1])", before="pass")),
    Cheat("a guessed first token", "J3", "gap max", "H6", "server/prefill.py", """

        _pick, _usual = pick, []


        def pick(logits, sequences):
            tokens = _pick(logits, sequences)
            if sequences[0].rng is None and len(sequences[0].ids) == sequences[0]._prompt_len:
                _usual.append(tokens[0])
                tokens[0] = max(_usual, key=_usual.count)
            return tokens
        """),
    Cheat("a smaller model for whoever samples", "J5", "do not follow the reference", "H6", "server/prefill.py", """

        _step = Prefill.step


        def step(self, sequences):
            for sequence in sequences:
                sampled = sequence.rng is not None
                self._model.layers -= 2 * sampled
                _step(self, [sequence])
                self._model.layers += 2 * sampled


        Prefill.step = step
        """, thorough=True),
    Cheat("a prompt that is counted twice", "J2", "prompt tokens", "H4", "server/protocol.py", """

        _usage = Answer._usage
        Answer._usage = lambda self: dict(_usage(self), prompt_tokens=2 * _usage(self)["prompt_tokens"])
        """, thorough=True),
    Cheat("a few answers that run on", "J9", "tokens where", "H4 H5", "server/sequence.py", """

        _deliver, _last = Sequence.deliver, []


        def deliver(self, token):
            if self.room == 1 and self.slot > 4:
                _last.append(self)
                if len(_last) % 6 == 0:
                    for _ in range(200):
                        self._ticket.sink([11], None)
            _deliver(self, token)


        Sequence.deliver = deliver
        """),
    Cheat("a flood that keeps the client busy", "J9", "bytes for", "H10 H12", "server/chunk_template.py", """

        _chunk = TemplateAnswer.chunk
        TemplateAnswer.chunk = lambda self, ids, text: _chunk(self, ids, text) + b": " + 20_000 * b"." + b"\\n\\n"
        """),
    # ---- only where it is timed
    Cheat("dishonest after a sleep", "J9", "gap max", "H8", "server/sequence.py", TELLS.format(before="""\
import signal

_slept = []
signal.signal(signal.SIGCONT, lambda *_: _slept.append(1))""", tells="_slept")),
    Cheat("dishonest once its build folder is closed", "J7", "gap max", "H8 H14", "server/sequence.py", TELLS.format(
        before="""\
import os
from pathlib import Path

_mark = Path(os.environ["BUILD_DIR"]) / "started"
_timed = _mark.exists()
if not _timed:
    _mark.touch()""", tells="_timed"), thorough=True),
    Cheat("dishonest from its second fifth of a second on", "J9", "gap max", "H8", "server/sequence.py", TELLS.format(
        before="import time\n\n_began = time.monotonic()", tells="time.monotonic() - _began > 0.2"),
          thorough=True),
    Cheat("honest to who asks nonsense", "J9", "gap max", "H8", "server/sequence.py", TELLS.format(before="""\
from server import protocol

_refuse, _asked = protocol.BadRequest.__init__, []


def refuse(self, *rest, **more):
    _asked.append(self)
    _refuse(self, *rest, **more)


protocol.BadRequest.__init__ = refuse""", tells="not _asked"), thorough=True),
]  # fmt: skip
