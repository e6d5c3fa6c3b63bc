"""Honest servers, optimised in every way that the recipes know and in some that they do not: all must pass."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests.cheats.laboratory import Laboratory, tree_of


@dataclass(frozen=True, slots=True)
class Honest:
    name: str
    recipes: tuple[str, ...] = ()
    """On top of the seed; empty with a file: on top of the fast tree."""
    accuracy: str = "exact"
    """The class that it needs."""
    file: str = ""
    code: str = ""

    def tree(self, lab: Laboratory, destination: Path) -> Path:
        seed = lab.target.file(lab.target.spec.seed)
        if not self.file:
            return tree_of(self.recipes, seed, destination)
        tree = Path(shutil.copytree(lab.honest, destination))
        with (tree / self.file).open("a", encoding="utf-8") as file:
            file.write(dedent(self.code))
        return tree


HONEST = [
    Honest("pages given away and computed again", file="server/decode.py", code="""

        _step, _steps = Decode.step, []


        def step(self, sequences):
            _steps.append(len(sequences))
            if len(_steps) % 5 == 0:
                lost = max(sequences, key=lambda sequence: sequence.slot)
                self._model.keys[:, lost.slot] = self._model.values[:, lost.slot] = 7
                self._model.prefill(lost.slot, lost.ids[: lost.filled], 0)
            _step(self, sequences)


        Decode.step = step
        """),
    Honest("guesses from the prompt, verified", file="server/decode.py", code="""

        _step = Decode.step


        def guess(ids, room):
            for at in range(len(ids) - 3, 0, -1):
                if ids[at - 1 : at + 1] == ids[-2:]:
                    return ids[at + 1 : at + 1 + min(6, room)]
            return []


        def step(self, sequences):
            plain = []
            for sequence in sequences:
                guessed = [] if sequence.rng else guess(sequence.ids, sequence.room - 1)
                if not guessed:
                    plain.append(sequence)
                    continue
                tokens = self._model.extend(sequence.slot, [sequence.ids[-1], *guessed], sequence.filled).argmax()
                for token, expected in zip(tokens, [*guessed, None]):
                    sequence.filled += 1
                    sequence.deliver(token)
                    if sequence.done or token != expected:
                        break
            if plain:
                _step(self, plain)


        Decode.step = step
        """),
    Honest("a few milliseconds for others to join", file="server/engine.py", code="""

        import time

        _admit = Engine._admit


        def admit(self, running):
            idle = not running
            if not _admit(self, running):
                return False
            if idle:
                time.sleep(0.005)
                return _admit(self, running)
            return True


        Engine._admit = admit
        """),
    Honest("sampled requests by themselves", file="server/decode.py", code="""

        _step = Decode.step


        def step(self, sequences):
            if greedy := [sequence for sequence in sequences if sequence.rng is None]:
                _step(self, greedy)
            for sequence in sequences:
                if sequence.rng is not None:
                    _step(self, [sequence])


        Decode.step = step
        """),
    Honest("eight steps to a write", file="server/http_server.py", code="""

        _write = Connection._write


        def gathered(self, data):
            kept = self.__dict__.setdefault("kept", [])
            kept.append(data)
            if len(kept) == 8 or data.endswith(b"0\\r\\n\\r\\n") or data.startswith(b"HTTP"):
                _write(self, b"".join(kept))
                kept.clear()


        Connection._write = gathered
        """),
    Honest("weights that are read when they are needed", file="server/model.py", code="""

        _open, _read = Model.__init__, read_weights


        class Later(dict):
            def __init__(self, path):
                self._path = path

            def __missing__(self, name):
                if self:
                    raise KeyError(name)
                self.update(_read(self._path))
                return self[name]


        def read_weights(path):
            return Later(path)


        def opened(self, config):
            prefill, Model.prefill = Model.prefill, lambda *_: None
            _open(self, config)
            Model.prefill = prefill


        Model.__init__ = opened
        """),
    Honest("an engine in a process of its own", file="server/engine.py", code="""

        import itertools
        import multiprocessing

        _start, _submit, _cancel = Engine.start, Engine.submit, Engine.cancel


        def _apart(engine, pipe):
            tickets, sending = {}, threading.Lock()

            def sink_of(number):
                def sink(ids, finish):
                    with sending:
                        pipe.send((number, ids, finish))

                return sink

            _start(engine)
            while True:
                number, request = pipe.recv()
                if request is None:
                    _cancel(engine, tickets.pop(number))
                else:
                    tickets[number] = _submit(engine, request, sink_of(number))


        def start(self):
            self._numbers, self._asked, self._sending = itertools.count(), {}, threading.Lock()
            fork = multiprocessing.get_context("fork")
            self._pipe, theirs = fork.Pipe()
            fork.Process(target=_apart, args=(self, theirs), daemon=True).start()
            threading.Thread(target=self._listen, daemon=True).start()


        def listen(self):
            while True:
                number, ids, finish = self._pipe.recv()
                self._asked[number].sink(ids, finish)


        def submit(self, request, sink):
            ticket = Ticket(request, sink)
            ticket.number = next(self._numbers)
            self._asked[ticket.number] = ticket
            with self._sending:
                self._pipe.send((ticket.number, request))
            return ticket


        def cancel(self, ticket):
            with self._sending:
                self._pipe.send((ticket.number, None))


        Engine.start, Engine.submit, Engine.cancel, Engine._listen = start, submit, cancel, listen
        """),
    Honest("a connection for each answer", file="server/http_server.py", code="""

        _reply_of = _response
        RequestReader.last = property(lambda self: True, lambda self, value: None)
        STREAM_HEAD = STREAM_HEAD[:-2] + b"connection: close\\r\\n\\r\\n"


        def _response(status, body):
            return _reply_of(status, body).replace(b"\\r\\n\\r\\n", b"\\r\\nconnection: close\\r\\n\\r\\n", 1)
        """),
    Honest("events in another dialect", file="server/chunk_template.py", code="""

        _chunk, _end = TemplateAnswer.chunk, Answer.end


        def chunk(self, ids, text):
            before = b""
            if len(self._ids) == len(ids):
                before = _chunk(self, [], "").replace(b"null}]", b'null, "delta": {"role": "assistant"}}]')
                before = b"" if self.finish else before
            whole = before + b": still here\\n\\n" + _chunk(self, ids, text)
            return whole.replace(b"data: ", b"data:").replace(b"\\n\\n", b"\\r\\n\\r\\n")


        TemplateAnswer.chunk = chunk
        Answer.end = lambda self: _end(self).replace(b"\\n\\n", b"\\r\\n\\r\\n")
        """),
    Honest("a queue that is looked at all the time", file="server/engine.py", code="""

        import time

        _admit = Engine._admit


        def admit(self, running):
            while not running and self._waiting.empty():
                time.sleep(0.001)
            return _admit(self, running)


        Engine._admit = admit
        """),
    Honest("another process beside the server", file="server/tokens.py", code="""

        import multiprocessing

        from tokenizers import Tokenizer as _Tokenizer


        def _encode_all(path, pipe):
            encode = _Tokenizer.from_file(path).encode
            while True:
                arguments, settings = pipe.recv()
                pipe.send(encode(*arguments, **settings).ids)


        class _Encoding:
            def __init__(self, ids):
                self.ids = ids


        _open = Tokens.__init__


        def opened(self, model_dir):
            _open(self, model_dir)
            ours, theirs = multiprocessing.get_context("fork").Pipe()
            arguments = (str(model_dir / "tokenizer.json"), theirs)
            multiprocessing.get_context("fork").Process(target=_encode_all, args=arguments, daemon=True).start()

            def encode(*arguments, **settings):
                ours.send((arguments, settings))
                return _Encoding(ours.recv())

            self._encode = encode


        Tokens.__init__ = opened
        """),
    Honest("the seed"),
    Honest("own layers over a static cache", ("kv-cache-preallocate",)),
    Honest("continuous batching, plain HTTP", ("continuous-batching", "http-path")),
    Honest("chunked prefill", ("continuous-batching", "chunked-prefill")),
    Honest("prefix cache", ("continuous-batching", "prefix-cache-radix")),
    Honest("fused projections", ("continuous-batching", "fused-qkv-and-gate-up", "batched-sampling-no-sync")),
    Honest("static batching", ("static-batching-window",)),
    Honest("two threads", ("continuous-batching", "thread-count-and-affinity")),
    Honest("verified predictions", ("predicted-outputs",)),
    Honest("cached encodings", ("tokenizer-cache-and-parallel", "continuous-batching")),
    Honest("native kernel", ("native-cpu-kernel", "continuous-batching", "http-path")),
    Honest("bf16 arithmetic", ("continuous-batching", "bf16-on-cpu"), "numeric"),
    Honest("int8 in the native kernel", ("native-kernel-int8", "continuous-batching"), "numeric"),
    Honest("dynamic int8", ("continuous-batching", "prefix-cache-radix", "weight-int8-dynamic"), "quantised"),
]  # fmt: skip
