"""The journal: what was synced is read back, a torn end is cut, a damaged middle is refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vibeserve_tui import events as ev
from vibeserve_tui.errors import StateDamaged
from vibeserve_tui.state.journal import Journal, Tail, read_journal


def write(path: Path, count: int = 6) -> bytes:
    journal = Journal(path)
    for i in range(count):
        journal.append(ev.Warned(text=f"line {i} \x1b é"), ev.Heartbeat(active_s=float(i)))
    journal.close()
    return path.read_bytes()


def texts(path: Path) -> list[str]:
    return [record.event.text for record in read_journal(path) if isinstance(record.event, ev.Warned)]


def test_events_come_back_in_order_with_consecutive_numbers(tmp_path):
    write(tmp_path / "j")
    records = list(read_journal(tmp_path / "j"))
    assert [record.seq for record in records] == list(range(1, 13))
    assert texts(tmp_path / "j") == [f"line {i} \x1b é" for i in range(6)]


def test_the_file_holds_no_control_or_non_ascii_bytes(tmp_path):
    assert all(byte == 10 or 32 <= byte < 127 for byte in write(tmp_path / "j"))


def test_a_journal_cut_at_any_byte_recovers_whole_groups_only(tmp_path):
    whole = write(tmp_path / "whole", count=3)
    for cut in range(len(whole)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:cut])
        journal = Journal(path)
        journal.append(ev.Warned(text="after"))
        journal.close()
        groups = texts(path)
        assert groups == [f"line {i} \x1b é" for i in range(len(groups) - 1)] + ["after"]
        records = list(read_journal(path))
        assert len(records) == 2 * (len(groups) - 1) + 1
        assert [record.seq for record in records] == list(range(1, len(records) + 1))


@settings(max_examples=300, deadline=None)
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_what_is_read(tmp_path_factory, position, bit):
    path = tmp_path_factory.mktemp("flip") / "j"
    whole = bytearray(write(path, count=3))
    good = texts(path)
    whole[position % len(whole)] ^= 1 << bit
    path.write_bytes(whole)
    try:
        read = texts(path)
    except StateDamaged:
        read = []
    assert read == good[: len(read)]


def test_damage_before_a_sound_line_is_refused_with_file_and_line(tmp_path):
    whole = bytearray(write(tmp_path / "j"))
    whole[200] ^= 1
    (tmp_path / "j").write_bytes(whole)
    with pytest.raises(StateDamaged, match="line 1") as caught:
        Journal(tmp_path / "j")
    assert caught.value.exit_code == 5
    assert (tmp_path / "j").read_bytes() == bytes(whole)


def test_a_reader_waits_for_the_end_of_a_group(tmp_path):
    whole = write(tmp_path / "j", count=1)
    first_line = whole.index(b"\n") + 1
    (tmp_path / "j").write_bytes(whole[:first_line])
    tail = Tail(tmp_path / "j")
    assert tail.read() == []
    (tmp_path / "j").write_bytes(whole)
    assert [record.seq for record in tail.read()] == [1, 2]


def test_an_event_of_a_newer_version_is_kept_as_unknown(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append(ev.UnknownEvent(kind="telepathy", data={"strength": 3}))
    journal.close()
    (record,) = read_journal(tmp_path / "j")
    assert record.event == ev.UnknownEvent(kind="telepathy", data={"strength": 3})


def test_half_a_surrogate_pair_in_a_program_s_output_comes_back_as_it_was(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append(ev.Warned(text="a broken pipe: \udc80 \ud83d"))
    journal.close()
    assert texts(tmp_path / "j") == ["a broken pipe: \udc80 \ud83d"]
