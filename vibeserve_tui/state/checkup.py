"""What is sound about a run directory, what was repaired, and what nobody can repair.

Only what loses nothing is repaired, and only while no engine holds the run: an unfinished last record is cut off (its
bytes are kept), references and views are made again from the journal, leftovers of killed processes are removed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from vibeserve_tui import events as ev
from vibeserve_tui.errors import RunError, StateDamaged, WorkspaceError
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state import durable
from vibeserve_tui.state.journal import Journal, Tail
from vibeserve_tui.state.run_dir import RunDir, lock_holder
from vibeserve_tui.state.views import MEMORY_FILE, Views, render
from vibeserve_tui.state.workspace import Store

GOOD = "journal.good.jsonl"


@dataclass(slots=True)
class Findings:
    sound: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def check_up(run: RunDir) -> Findings:
    """Look at everything and repair what may be repaired. Raises StateDamaged for a journal that nobody can go on with."""
    findings = Findings()
    records = _records(run)
    state = RunState()
    for record in records:
        state.apply(record)
    holder = lock_holder(run)
    if holder is not None:
        findings.sound.append(f"an engine works on it (pid {holder.get('pid', '?')}): nothing is repaired meanwhile")
        _check_blobs(run, records, findings)
        return findings
    with run.owned(wait_s=0.0):
        run.create()  # views may have been deleted with their folder
        _mend_journal(run, len(records), findings)
        _check_blobs(run, records, findings)
        _check_store(run, records, findings)
        _mend_views(run, state, findings)
        run.settle()
    return findings


def _records(run: RunDir) -> list[ev.Record]:
    """All whole records; of a damaged journal the good beginning is saved before the damage is raised."""
    records: list[ev.Record] = []
    tail = Tail(run.journal)
    try:
        while batch := tail.read():
            records += batch
    except StateDamaged as damage:
        records += tail.salvaged
        with run.journal.open("rb") as whole:
            durable.write_atomic(run.path / GOOD, b"".join(itertools.islice(whole, len(records))))
        raise StateDamaged(
            f"{damage.what}; its {len(records)} good records are in {GOOD}", where=damage.where,
            fix="keep a copy of the run, then put that file in the journal's place to resume from there",
        ) from damage  # fmt: skip
    finally:
        tail.close()
    if not records:
        raise RunError("the journal is empty", where=str(run.journal))
    return records


def _mend_journal(run: RunDir, count: int, findings: Findings) -> None:
    journal = Journal(run.journal)
    journal.close()
    findings.sound.append(f"{count} records, {run.journal.stat().st_size >> 10} KiB, all sound")
    if journal.cut_bytes:
        findings.repaired.append(f"{journal.cut_bytes} bytes of an unfinished record were cut off and kept beside it")


def _check_blobs(run: RunDir, records: list[ev.Record], findings: Findings) -> None:
    named = dict.fromkeys(digest for record in records for digest in _evidence(ev.dump_event(record.event)))
    for digest in named:
        try:
            run.get_blob(digest)
        except StateDamaged as damage:
            findings.lost.append(str(damage))
    others = [path for path in run.blobs.glob("??/*") if path.name not in named and not path.name.startswith(".")]
    for path in others:
        try:
            sound = hashlib.sha256(durable.plain_file(path)).hexdigest() == path.name
        except OSError:
            sound = False
        if not sound:
            findings.lost.append(f"{path}: other content than its name says; no measurement rests on it")
    findings.sound.append(f"{len(named) + len(others)} blobs, {len(named)} of them evidence of measurements")


def _evidence(data: object) -> Iterator[str]:
    """Every blob that a measurement names, however deep."""
    if isinstance(data, dict):
        for name, value in data.items():
            if name == "evidence" and isinstance(value, str) and value:
                yield value
            else:
                yield from _evidence(value)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _evidence(value)


def _check_store(run: RunDir, records: list[ev.Record], findings: Findings) -> None:
    store = Store(run.store)
    if locks := store.remove_stale_locks():
        findings.repaired.append(f"{locks} locks of a killed git were removed")
    commits = dict(_references(records))
    for ref, commit in commits.items():
        try:
            store.tree_of(commit)
            if store.ref(ref) != commit:
                store.set_ref(ref, commit)
                findings.repaired.append(f"refs/{ref} leads to its commit again")
        except WorkspaceError:
            findings.lost.append(f"{run.store}: the commit of refs/{ref} is gone")
    try:
        store.verify()
        findings.sound.append(f"{len(commits)} commits with their trees")
    except WorkspaceError as error:
        findings.lost.append(f"{run.store}: {error.what}")


def _references(records: list[ev.Record]) -> Iterator[tuple[str, str]]:
    """Reference (without `refs/`) and commit, the last one that was recorded."""
    for record in records:
        match record.event:
            case ev.AttemptCommitted(ref=ref, commit=commit) if commit:
                yield ref.removeprefix("refs/"), commit
            case ev.RoundFinished(record=round_) if round_.commit:
                yield f"rounds/{round_.number:03d}", round_.commit
            case _:
                pass


def _mend_views(run: RunDir, state: RunState, findings: Findings) -> None:
    views = Views(run)
    if views.edited_memory(state) is not None:
        findings.sound.append(f"{MEMORY_FILE} was edited by hand; the next engine takes that over")
        return
    stale = [name for name, text in render(state).items() if not _holds(run, name, text)]
    if stale:
        views.write(state)
        findings.repaired.append(f"{', '.join(stale)}: made again from the journal")
    else:
        findings.sound.append("all views are what the journal says")


def _holds(run: RunDir, name: str, text: str) -> bool:
    try:
        return (run.views / name).read_bytes() == text.encode()
    except OSError:
        return False
