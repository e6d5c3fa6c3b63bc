"""What a run found, in three forms: only a confirmed gain is quoted, and agents' words cannot break any form."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import pytest

from tests.recorded_run import SEED, Played, record_run
from vibeserve_tui import events as ev
from vibeserve_tui.cli import main
from vibeserve_tui.client import open_state
from vibeserve_tui.report import as_data, as_html, as_markdown, confirmed_table
from vibeserve_tui.run_state import RunState
from vibeserve_tui.trajectory import trajectory_svg

HOSTILE = "a | b `c`\n\x1b[31m<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunState]:
    folder = tmp_path_factory.mktemp("runs")
    kept = Played(SEED, "own loop", skill="own-loop", ratio=1.5)
    hostile = Played(SEED, HOSTILE, outcome=ev.Outcome.FAILED, passed=False, ratio=None)
    return {
        "confirmed": open_state(record_run(folder / "confirmed", [kept, hostile])),
        "not held": open_state(record_run(folder / "not-held", [kept], confirmed=0.98)),
        "in doubt": open_state(record_run(folder / "in-doubt", [kept], doubt="another figure got worse: p90_ttft_ms")),
        "ended early": open_state(record_run(folder / "early", [kept], confirmed=None)),
    }


def test_a_confirmed_gain_is_the_headline_with_its_interval(states: dict[str, RunState]) -> None:
    text = as_markdown(states["confirmed"])
    assert text.startswith("# tiny-llama-chat: ×1.4 output_throughput at c16 over the seed, confirmed\n")
    assert "| output_throughput ★ | c16 | 100 tok/s | 140 tok/s | ×1.40 | [1.35, 1.45] |" in text
    assert "- round 1: own loop (×1.50)" in text
    assert '<p class="big">×1.4</p>' in as_html(states["confirmed"])


def test_the_gate_s_codes_are_words_for_people_and_stay_codes_for_programs(states: dict[str, RunState]) -> None:
    words = "its interval stays above the least gain that counts"
    assert words in as_markdown(states["confirmed"])
    assert words in as_html(states["confirmed"])
    assert as_data(states["confirmed"])["rounds"][1]["reason"] == "bound"


def test_the_distance_to_the_floor_is_told_where_it_is_known(states: dict[str, RunState]) -> None:
    data = as_data(states["confirmed"])
    assert "floor" not in confirmed_table(data)
    data["confirmed"][0]["headroom"] = 3.1
    assert "Left before the physical floor of this device: output_throughput at c16 ×3.10." in confirmed_table(data)


def test_a_gain_that_did_not_hold_is_shown_and_never_quoted_as_confirmed(states: dict[str, RunState]) -> None:
    data, text = as_data(states["not held"]), as_markdown(states["not held"])
    assert data["champion"]["number"] == 0
    assert data["confirmation_holds"] is False
    assert text.startswith("# tiny-llama-chat: no confirmed gain (finished)\n")
    assert "The gain of round 1 did not hold" in text
    assert '<p class="big">' not in as_html(states["not held"])


def test_a_gain_in_doubt_is_shown_with_the_reason_and_never_quoted_as_confirmed(states: dict[str, RunState]) -> None:
    state = states["in doubt"]
    assert (state.champion, state.confirmed_headline) == (1, None)
    text = as_markdown(state)
    assert text.startswith("# tiny-llama-chat: no confirmed gain (finished)\n")
    assert "Nothing is confirmed by it: another figure got worse: p90_ttft_ms." in text
    assert "did not hold" not in text


@pytest.mark.parametrize(
    ("doubt", "words"),
    [("the machine was too busy", "the machine was too busy"), ("", "the champion failed beside the seed")],
)
def test_a_confirmation_that_came_to_no_figures_is_not_told_as_one_that_never_was(doubt: str, words: str) -> None:
    data = {"confirmed": [], "confirmed_round": 3, "confirmation_doubt": doubt}
    assert confirmed_table(data) == f"Nothing was confirmed: {words}."


def test_a_run_that_ended_before_its_confirmation_says_so(states: dict[str, RunState]) -> None:
    assert "Nothing was confirmed" in as_markdown(states["ended early"])
    assert as_data(states["ended early"])["confirmed"] == []


def test_a_run_that_has_only_begun_has_a_report() -> None:
    state = RunState()
    assert "no confirmed gain" in as_markdown(state)
    assert "nothing to draw" in as_html(state)
    json.dumps(as_data(state))


def test_agents_words_cannot_break_the_table_nor_reach_the_terminal_raw(states: dict[str, RunState]) -> None:
    text = as_markdown(states["confirmed"])
    rows = [line for line in text.splitlines() if line.startswith("| 2 |")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 8
    assert not {"\x1b", "\u202e"} & set(text)


def test_the_page_is_one_well_formed_file_without_outside_resources(states: dict[str, RunState]) -> None:
    page = as_html(states["confirmed"])
    assert "<script" not in page
    assert "http" not in page
    assert Tags().all_closed(page)


class Tags(html.parser.HTMLParser):
    def all_closed(self, page: str) -> bool:
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(page)
        return not self.open and not self.wrong

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_every_form_holds_every_round(states: dict[str, RunState]) -> None:
    state = states["confirmed"]
    assert [row["number"] for row in as_data(state)["rounds"]] == [0, 1, 2]
    assert trajectory_svg(as_data(state)).count("<title>") == 3


def test_the_champion_is_drawn_as_a_staircase_through_the_kept_rounds(states: dict[str, RunState]) -> None:
    svg = trajectory_svg(as_data(states["confirmed"]))
    path = svg.split('<path d="')[1].split('"')[0]
    heights = [float(point.split(",")[1]) for point in path[1:].split("L")]
    assert heights[0] > heights[-1]  # y grows downwards
    assert heights[-1] == min(heights)


def test_the_verb_writes_all_three_forms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = record_run(tmp_path / "run")
    assert main(["report", str(run.path), "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.json", "report.md"]
    assert main(["report", str(run.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "out" / "report.json").read_text())


def test_what_agents_took_is_said_with_their_models_and_an_unknown_price_as_unknown() -> None:
    voice = ev.VoiceSettings(provider="x", model="claude-x")
    plan = ev.RunPlan(
        target="t", target_path="/t", target_digest="0", voices={"judge": voice}, agents={"orchestrator": "anthropic"}
    )
    device = ev.DeviceSummary(id="cpu:0", name="d", backend="cpu", fingerprint="f")
    state = RunState()

    def say(*events: ev.Event) -> str:
        for event in events:
            state.apply(ev.Record(seq=state.seq + 1, ts_wall=0.0, ts_mono=0.0, boot_id="b", event=event))
        return as_markdown(state)

    assert "agents took" not in say(ev.RunStarted(run="r", plan=plan, device=device))
    spent = ev.AgentSpent(id="1", role="judge", model="claude-x", input=1200, output=34, usd=0.5)
    assert "- agents took 1,234 tokens, $0.50 (claude-x)" in say(spent)
    assert as_data(state)["spend"]["roles"]["judge"] == {"model": "claude-x", "tokens": 1234, "usd": 0.5}
    assert "2,468 tokens, at an unknown price" in say(spent.model_copy(update={"id": "2", "usd": None}))
