"""What `gate explain` says of evidence that is as it was written, and of evidence that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.test_gate_evidence import candidate, evidence_of
from tests.recorded_run import record_run
from vibeserve_tui import events as ev
from vibeserve_tui.cli import main
from vibeserve_tui.evaluation.evidence import Evidence
from vibeserve_tui.metrics import Outcome
from vibeserve_tui.state.journal import Journal
from vibeserve_tui.state.run_dir import RunDir


def explained(folder: Path, evidence: bytes) -> tuple[RunDir, str, list[str]]:
    """A run whose round 1 was measured so, its evidence's digest, and the command."""
    run = record_run(folder / "run", confirmed=None)
    digest = run.put_blob(evidence)
    measured = ev.Measured(outcome="rejected", reason="futile", blocks=3, evidence=digest)
    record = ev.RoundRecord(
        number=1, task=ev.TaskPlan(title="a change"), outcome="reverted", reason="", measured=measured
    )
    journal = Journal(run.journal)
    journal.append(ev.RoundFinished(record=record))
    journal.close()
    return run, digest, ["gate", "explain", "run", "1", "--runs-dir", str(folder)]


@pytest.fixture
async def evidence() -> Evidence:
    return await evidence_of(candidate(101))


def test_a_decision_that_follows_from_its_evidence_is_explained(
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, command = explained(tmp_path, evidence.model_dump_json().encode())
    assert main(command) == 0
    decision = evidence.decision
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{decision.outcome} ({decision.reason}) after ")


def test_the_last_confirmation_is_explained_too(
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    run, digest, (*command, _, option, folder) = explained(tmp_path, evidence.model_dump_json().encode())
    assert main([*command, "confirmed", option, folder]) == 2
    assert "nothing was confirmed yet" in capsys.readouterr().err
    journal = Journal(run.journal)
    journal.append(ev.Confirmed(champion=1, baseline=0, figures=(), blocks=4, evidence=digest))
    journal.close()
    assert main([*command, "confirmed", option, folder]) == 0
    assert capsys.readouterr().out.startswith("A round 2 aaaaaaaaaa against")


def test_a_decision_that_does_not_follow_is_explained_and_an_error(
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    claimed = evidence.decision.model_copy(update={"outcome": Outcome.ACCEPTED, "reason": "bound"})
    forged = evidence.model_copy(update={"decision": claimed})
    *_, command = explained(tmp_path, forged.model_dump_json().encode())
    assert main(command) == 2
    told = capsys.readouterr()
    assert told.out.startswith("DIFFERS: the record says bound")
    assert "does not follow from its evidence" in told.err


def test_evidence_of_which_one_byte_was_changed_is_refused(
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    run, digest, command = explained(tmp_path, evidence.model_dump_json().encode())
    (blob,) = (path for path in run.blobs.rglob("*") if digest[2:] in path.name)
    content = blob.read_bytes()
    blob.chmod(0o600)
    blob.write_bytes(content.replace(b'"seed":', b'"seeb":') if b'"seed":' in content else content[:-1] + b"x")
    assert main(command) == 2
    assert digest[:12] in capsys.readouterr().err


def test_evidence_without_its_headline_is_no_evidence(
    tmp_path: Path, evidence: Evidence, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = evidence.model_copy(update={"terms": evidence.terms.model_copy(update={"headlines": ()})})
    *_, command = explained(tmp_path, bare.model_dump_json().encode())
    assert main(command) == 2
    assert "cannot be read" in capsys.readouterr().err
