"""Cheats of somebody who has read the judge: each looks honest wherever it thinks that it is looked at.

Four kinds: what is true only of a full batch or of a server that is busy; what is true only of the positions and kinds
of request that a check asks for; what is true only once a process can tell that it is timed, not judged; and right
tokens that do not come as they are made.
"""

from __future__ import annotations

from tests.cheats.zoo import BY_REQUEST, PICK, STORE, Cheat

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

# Events that are kept from their client while `{tells}` is true, up to the end of the answer.
KEEP = """

{before}


_write = Connection._write


def keep(self, data):
    kept = self.__dict__.setdefault("kept", bytearray())
    kept += data
    over = data.endswith(b"0\\r\\n\\r\\n") or data.startswith(b"HTTP")
    if over or not ({tells}):
        _write(self, bytes(kept))
        kept.clear()
    {after}


Connection._write = keep
"""
CROWD = """\
_made, _lost, _open = Connection.connection_made, Connection.connection_lost, set()


def made(self, transport):
    _open.add(self)
    _made(self, transport)


def lost(self, reason):
    _open.discard(self)
    _lost(self, reason)


Connection.connection_made, Connection.connection_lost = made, lost"""

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
    Cheat("a flood that keeps the client busy", "J9", "bytes", "H10 H12", "server/chunk_template.py", """

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
    # ---- right, but not as it comes
    Cheat("an answer written at its end", "J6", "tokens come at the end", "H5", "server/http_server.py",
          KEEP.format(before="", tells="True", after=""), thorough=True),
    Cheat("all but the first token kept to the end", "J6", "tokens come at the end", "H5", "server/http_server.py",
          KEEP.format(before="", tells='getattr(self, "begun", False)', after="self.begun = not over")),
    Cheat("kept back among others", "J6", "tokens come at the end", "H5 H8", "server/http_server.py",
          KEEP.format(before=CROWD, tells="len(_open) > 3", after=""), thorough=True),
    Cheat("kept back once it is timed", "J9", "tokens come at the end", "H5 H8", "server/http_server.py", KEEP.format(
        before=f"{CROWD}\n_slept = []\nsignal.signal(signal.SIGCONT, lambda *_: _slept.append(1))",
        tells="_slept and len(_open) > 3", after="")),
    Cheat("text of greedy answers at their end", "J2", "holds back text", "H5", "server/protocol.py", """

        _push = Answer.push


        def late(self, ids, finish):
            text = _push(self, ids, finish)
            if self._call.request.temperature or self._call.stop:
                return text
            self.late = getattr(self, "late", "") + text
            self._parts[-1] = self.late if finish else ""
            return self._parts[-1]


        Answer.push = late
        """),
    # ---- right for who asks like a judge
    Cheat("responses kept for prompts of the benchmark's length", "J8", "of the workload costs less", "H2 H17",
          "server/engine.py", STORE.format(key=f"({BY_REQUEST}) if len(request.prompt_ids) > 40 else object()",
                                           before="pass")),
    Cheat("half the prompt of who wants no ids", "J2", "without token ids", "H8", "server/protocol.py", """

        import dataclasses

        _parse = parse_call


        def parse_call(body, **rest):
            call = _parse(body, **rest)
            if call.return_token_ids or not call.stream:
                return call
            half = call.request.prompt_ids[len(call.request.prompt_ids) // 2 :]
            return dataclasses.replace(call, request=dataclasses.replace(call.request, prompt_ids=half))
        """),
    # ---- against whoever looks
    Cheat("a token that the reference has never heard of", "J3", "no token of the model", "H10 H12",
          "server/chunk_template.py", """

        _push, _chunk = TemplateAnswer.push, TemplateAnswer.chunk


        def push(self, ids, finish):
            text = _push(self, ids, finish)
            if finish and self._call.request.ignore_eos:
                self._parts[-1] = ""
            return self._parts[-1]


        def chunk(self, ids, text):
            last = self.finish and self._call.request.ignore_eos
            return _chunk(self, [5000 for _ in ids] if last else ids, text)


        TemplateAnswer.push, TemplateAnswer.chunk = push, chunk
        """),
    Cheat("answers of a megabyte", "J3", "too_large", "H10 H12", "server/chunk_template.py", """

        _chunk = TemplateAnswer.chunk
        TemplateAnswer.chunk = lambda self, ids, text: _chunk(self, ids, text) + b": " + 200_000 * b"." + b"\\n\\n"
        """),
]  # fmt: skip
