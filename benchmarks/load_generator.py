"""What the load generator costs and how far its stamps are off, at known token rates.

    python benchmarks/load_generator.py [--seconds 5]

A server process writes one token per event at a known time, which it puts into the event; both
processes share the machine's monotonic clock. As in a run, they are pinned apart. Limits to hold on two quiet cores: 10 % of a core
at 2,000 tokens/s, and 5,000 events/s with a loop lag below 5 ms at the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.evaluation import mock_server
from vibeserve_tui.evaluation.load_client import run_load_here
from vibeserve_tui.evaluation.load_plan import Call, LoadPlan, Mode
from vibeserve_tui.evaluation.load_report import LoadReport
from vibeserve_tui.evaluation.load_summary import percentile
from vibeserve_tui.evaluation.strict_json import Json

CASES = ((1, 0.005), (16, 0.016), (20, 0.010), (64, 0.0128), (64, 0.0064))
"""Streams, and seconds between the tokens of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    print("streams  events/s wanted / had   CPU of a core   µs/event   loop lag p99   stamp error p50 / p99")
    for streams, gap_s in CASES:
        report = measure(streams, gap_s, seconds)
        client, events = report.client, sum(len(call.chunk_t) for call in report.calls)
        errors = stamp_errors_ms(report)
        print(
            f"{streams:7}{streams / gap_s:13.0f} /{events / client.wall_s:6.0f}"
            f"{client.cpu_s / client.wall_s:15.1%}{1e6 * client.cpu_s / events:11.1f}{client.loop_lag.p99_ms:12.2f} ms"
            f"{percentile(errors, 50):12.2f} /{percentile(errors, 99):6.2f} ms"
        )


def measure(streams: int, gap_s: float, seconds: float) -> LoadReport:
    body: Json = {"prompt": [1], "max_tokens": round(seconds / gap_s), "stream": True}
    calls = tuple(Call(f"r{number}", "/v1/completions", body, keep_events=True) for number in range(streams))
    with mock_server.running(mock_server.Behaviour(gap_s=gap_s)) as (server, port):
        plan = LoadPlan("127.0.0.1", port, Mode.CLOSED, calls, deadline_s=4 * seconds, concurrency=streams)
        if sys.platform == "linux" and (os.cpu_count() or 1) > 1:
            *servers_cores, clients_core = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(server.pid, servers_cores)
            plan = replace(plan, cores=(clients_core,))
        return asyncio.run(run_load_here(plan))


def stamp_errors_ms(report: LoadReport) -> list[float]:
    errors = []
    for call in report.calls:
        sent = [event["sent_s"] for event in call.events or [] if isinstance(event, dict) and "sent_s" in event]
        for t, sent_s in zip(call.chunk_t, sent, strict=True):
            assert isinstance(sent_s, float)
            errors.append(1000 * (report.t0_monotonic_s + t - sent_s))
    return errors


if __name__ == "__main__":
    main()
