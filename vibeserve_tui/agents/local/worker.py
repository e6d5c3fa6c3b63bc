"""The process that holds a model and answers one question a line.

It loads the model, says what that can, and ends with its stdin. It runs beside the engine, so that a model can neither
block nor crash it, and its memory is free again afterwards.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from vibeserve_tui.agents.local.completion import Ask, Line, LocalModel, PromptTooLong, Ready, Refused

GGUF, MLX = "llama_cpp", "mlx"


def main() -> None:
    kind, path, context = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    # Libraries print what they like: the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        model = _load(kind, path, context)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        _say(answers, Refused(reason=f"{type(error).__name__}: {error}"))
        return
    _say(answers, Ready(context=model.context, constrained=model.constrained))
    for line in sys.stdin:
        _say(answers, _answer(model, line))


def _load(kind: str, path: Path, context: int) -> LocalModel:
    if kind == GGUF:
        from vibeserve_tui.agents.local.gguf_model import GgufModel

        return GgufModel(path, context)
    from vibeserve_tui.agents.local.mlx_model import MlxModel

    return MlxModel(path, context)


def _answer(model: LocalModel, line: str) -> Line:
    try:
        return model.complete(Ask.model_validate_json(line))
    except PromptTooLong as error:
        return Refused(reason=str(error), too_long=True)
    except (ValidationError, ValueError, RuntimeError) as error:
        return Refused(reason=f"{type(error).__name__}: {error}")


def _say(answers: TextIO, line: Line) -> None:
    answers.write(line.model_dump_json() + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
