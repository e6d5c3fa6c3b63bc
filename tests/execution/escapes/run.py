"""`main TASK.json [harmless]`: makes all attempts, or those that may be made outside of a box too.

Prints one JSON object: the attempt's name, and why it was refused or "" if it was not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from . import attempts, harmless
from .kit import task


def main() -> None:
    task.update(json.loads(Path(sys.argv[1]).read_text()))
    outcomes = {}
    for name, action in attempts.items():
        if len(sys.argv) > 2 and name not in harmless:
            continue
        try:
            action()
        except OSError as error:
            outcomes[name] = str(error) or type(error).__name__
        else:
            outcomes[name] = ""
    sys.stdout.write(json.dumps(outcomes))
