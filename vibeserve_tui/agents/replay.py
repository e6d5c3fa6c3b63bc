"""Plays a recorded run's conversations again, offline: the same words, the same changes, the same answers.

Each request is compared with the one that was recorded. `replay` stops at the first difference; `replay-loose` says so
and goes on, for runs whose measured figures are other ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import ValidationError

from vibeserve_tui.agents.loop.prices import FREE
from vibeserve_tui.agents.loop.transcript import Opening, Transcript, apply_changes
from vibeserve_tui.agents.protocol import AgentEvent, AgentRequest, Brief, Result, Said
from vibeserve_tui.errors import InputError
from vibeserve_tui.events import AgentFinished, VoiceSettings
from vibeserve_tui.state.journal import read_journal
from vibeserve_tui.state.run_dir import RunDir, find_run, runs_root

LOOSE = "replay-loose"
NAMES = (LOOSE,)


def completed(settings: VoiceSettings) -> VoiceSettings:
    """With the recorded run's whole path in the place of a model."""
    if not settings.model:
        raise InputError("which recorded run is to be played is not said", fix="--model-name RUN")
    path = str(find_run(settings.model, runs_root()).path)
    return settings.model_copy(update={"model": path, "fallback_models": (), "prices": {path: FREE}})


def missing(settings: VoiceSettings) -> None:
    if not _blobs(RunDir(Path(settings.model))):
        raise InputError("no conversation was recorded in this run", where=settings.model)


class Agent:
    def __init__(self, settings: VoiceSettings) -> None:
        self._run = RunDir(Path(settings.model))
        self._loose = settings.api == LOOSE
        self._known: dict[str, list[str]] | None = None

    async def run(self, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        brief = request.brief
        transcript = self._find(request)
        if brief is None or transcript is None:
            reason = f"the recording has no call {request.number + 1} of the {request.role}"
            yield Result("error", reason=reason, halts=True)
            return
        now = await asyncio.to_thread(Opening.of, request, brief, "", "")
        if other := transcript.opening.differs(now):
            if not self._loose:
                what = (
                    f"call {request.number + 1} of the {request.role} is not the one that was recorded: it has {other}"
                )
                yield Result("error", reason=f"{what}; with --agent {LOOSE} it goes on all the same", halts=True)
                return
            yield Said(f"(recorded for another request: this one has {other})")
        for event in transcript.events:
            yield event
        yield await asyncio.to_thread(_ending, transcript, request, brief)

    def _find(self, request: AgentRequest) -> Transcript | None:
        if self._known is None:
            self._known = _blobs(self._run)
        recorded = self._known.get(request.role.value, [])
        if request.number >= len(recorded):
            return None
        return Transcript.parse(self._run.get_blob(recorded[request.number]))


def _blobs(run: RunDir) -> dict[str, list[str]]:
    """By role, the transcripts in the order in which they ended."""
    found: dict[str, list[str]] = {}
    for record in read_journal(run.journal):
        if isinstance(record.event, AgentFinished) and record.event.transcript:
            found.setdefault(record.event.role, []).append(record.event.transcript)
    return found


def _ending(transcript: Transcript, request: AgentRequest, brief: Brief) -> Result:
    end = transcript.ending
    if brief.writable:
        apply_changes(transcript.changes, brief.workspace)
    if end.value is None:
        return Result(end.status, reason=end.reason, halts=end.halts)
    try:
        return Result(end.status, request.schema.model_validate(end.value), end.reason)
    except ValidationError as error:
        return Result("error", reason=f"the recorded answer does not fit: {error.errors()[0]['msg']}", halts=True)
