"""Ask a server whether it is ready, from inside its pod, where alone it can be reached.

One small program of the standard library polls until the answer is 200 or the time is up, so that
a server that needs a minute costs one process and not thousands.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from vibeserve_tui.errors import SandboxError
from vibeserve_tui.execution.box import BoxSpec, Limits
from vibeserve_tui.execution.pod import Pod

_GRACE_S = 10.0
_POLL = """
import http.client, json, signal, sys, time
host, port, limit_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
end = time.monotonic() + limit_s
seen = {"connected": False, "status": None, "body": ""}
def ask():
    while seen["status"] != 200 and (left := end - time.monotonic()) > 0:
        connection = http.client.HTTPConnection(host, port, timeout=left)
        try:
            connection.connect()
            seen["connected"] = True
            connection.request("GET", "/health")
            answer = connection.getresponse()
            seen["status"], seen["body"] = answer.status, answer.read(65536).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.02)
def give_up(*_):
    raise TimeoutError
# An answer may come byte by byte, so that no single wait is too long.
signal.signal(signal.SIGALRM, give_up)
signal.setitimer(signal.ITIMER_REAL, limit_s)
try:
    ask()
    signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm while the interpreter ends would kill it
except TimeoutError:
    pass
print(json.dumps(seen))
"""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the last answer was, or that there was none."""

    connected: bool
    status: int | None
    body: str


async def wait_until_ready(pod: Pod, limit_s: float) -> Readiness:
    argv = (sys.executable, "-I", "-S", "-c", _POLL, pod.host, str(pod.port), str(limit_s))
    spec = BoxSpec(argv, cwd=Path("/"), limits=Limits(memory_mib=256, tasks=16), cores=pod.client_cores)
    result = await pod.run("readiness", spec, timeout_s=limit_s + _GRACE_S)
    if result.returncode != 0:
        lines = result.stderr.decode(errors="replace").splitlines() or [f"exit code {result.returncode}"]
        raise SandboxError(f"the readiness check failed: {lines[-1]}")
    answer = json.loads(result.stdout)
    return Readiness(answer["connected"], answer["status"], answer["body"])
