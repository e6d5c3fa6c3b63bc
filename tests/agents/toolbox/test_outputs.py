from __future__ import annotations

import pytest

from vibeserve_tui.agents.protocol import ToolError
from vibeserve_tui.agents.toolbox.outputs import Outputs


def test_a_cut_result_keeps_its_ends_says_what_is_missing_and_where_the_whole_is() -> None:
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> str:
        blobs["0123456789abcdef"] = data
        return "0123456789abcdef"

    outputs = Outputs(put)
    text = "begin " + "x" * 5000 + " end"
    cut = outputs.cut(text, 900)
    assert cut.startswith("begin ") and cut.endswith(" end")
    assert "4,110 characters left out; all of it: read @outputs/0123456789ab" in cut
    assert outputs.read("0123456789ab") == text == blobs["0123456789abcdef"].decode()


def test_only_own_results_can_be_read_back() -> None:
    outputs = Outputs(lambda data: "feedfacefeedface")
    outputs.cut("y" * 100, 10)
    with pytest.raises(ToolError, match="there are: @outputs/feedfacefeed"):
        outputs.read("0123456789ab")


def test_a_short_result_stays_as_it_is_and_makes_no_blob() -> None:
    def put(data: bytes) -> str:
        raise AssertionError(data)

    assert Outputs(put).cut("short", 10) == "short"
