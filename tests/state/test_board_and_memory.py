"""The board and the memory file: what may change, and that a person's edit is never lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vibeserve_tui import events as ev
from vibeserve_tui.commands import EditIssue, NewIssue
from vibeserve_tui.errors import InputError
from vibeserve_tui.run_state import RunState
from vibeserve_tui.state import issues, lessons, memory
from vibeserve_tui.state.run_dir import RunDir
from vibeserve_tui.state.views import MEMORY_FILE, Views


def test_an_issue_with_a_known_title_is_not_filed_twice():
    board: dict[str, ev.Issue] = {}
    draft = ev.Issue(id="", type="perf", title="Batch requests")
    filed = issues.file_issue(board, draft)
    assert filed and filed.issue.id == "I-1"
    board["I-1"] = filed.issue
    assert issues.file_issue(board, draft) is None


def test_giving_up_needs_a_mechanism():
    issue = ev.Issue(id="I-1", type="perf", title="int8 weights")
    with pytest.raises(InputError, match="without saying why"):
        issues.settle(issue, ev.IssueStatus.ABANDONED)
    assert issues.settle(issue, ev.IssueStatus.ABANDONED, "argmax differs").issue.mechanism == "argmax differs"


def test_the_operator_edits_only_the_fields_given():
    board = {"I-1": issues.from_operator({}, NewIssue(title="Lower the tail", priority=1)).issue}
    changed = issues.edited(board, EditIssue(issue="I-1", priority=3)).issue
    assert (changed.priority, changed.title, changed.filed_by) == (3, "Lower the tail", "operator")


def test_an_unknown_issue_is_named_with_the_nearest_one():
    board = {"I-12": ev.Issue(id="I-12", type="bug", title="x")}
    with pytest.raises(InputError, match="did you mean 'I-12'"):
        issues.edited(board, EditIssue(issue="I-13", priority=1))


def test_doing_stands_before_open_and_open_before_done():
    board = [
        ev.Issue(id="I-1", type="perf", title="a", status="done"),
        ev.Issue(id="I-2", type="perf", title="b", status="open", priority=2),
        ev.Issue(id="I-3", type="perf", title="c", status="doing"),
        ev.Issue(id="I-4", type="perf", title="d", status="open", priority=1),
    ]
    assert [issue.id for issue in issues.in_order(board)] == ["I-3", "I-4", "I-2", "I-1"]


@given(st.lists(st.tuples(st.sampled_from(memory.HEADINGS), st.text("abc é", min_size=1, max_size=12)), max_size=12))
def test_every_note_stands_once_below_its_heading(notes):
    text = ""
    for heading, note in notes:
        text = memory.add_note(text, heading, note)
    for heading, note in notes:
        section = text.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
        assert section.splitlines().count(f"- {' '.join(note.split())}") == 1


def test_a_hand_edit_of_the_memory_view_is_noticed_and_then_taken(tmp_path):
    run = RunDir(tmp_path / "run")
    run.create()
    state, views = RunState(), Views(run)
    state.memory = memory.add_note("", memory.WORKS, "batching")
    views.write(state)
    assert views.edited_memory(state) is None
    path = run.views / MEMORY_FILE
    path.write_text(path.read_text() + "- my own note\n")
    edited = views.edited_memory(state)
    assert edited and edited.endswith("- my own note\n")
    state.memory = edited
    views.write(state)
    assert path.read_text() == edited


@pytest.mark.parametrize(
    ("measured", "heading"),
    [(None, memory.UNCLEAR), ("accepted", memory.UNCLEAR), ("rejected", memory.DEAD_ENDS)],
)
def test_what_only_the_operator_did_not_want_is_no_dead_end(measured, heading):
    found = ev.Measured(outcome=measured, reason="", blocks=2) if measured else None
    task = ev.TaskPlan(title="own loop")
    record = ev.RoundRecord(number=2, task=task, outcome="reverted", reason="operator", measured=found)
    assert lessons.heading_of(record.model_copy(update={"decided_by": "operator"})) == heading
    assert lessons.heading_of(record) == memory.DEAD_ENDS
