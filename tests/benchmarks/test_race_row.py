"""The verdicts of a comparison of servers follow from the measurements."""

from __future__ import annotations

import pytest

from common.code_tasks import functions, most_named, tail
from common.markdown_tables import quantile, table
from common.race_row import BENCH, LOOKUP, OURS, RATES, THEIRS, TIMES, TITLES, Bar, Row
from common.typed_lines import Kind
from keystroke_latency import OURS as OUR_SIDE
from keystroke_latency import THEIRS as THEIR_SIDE
from keystroke_latency import AskedKeystroke, Mode, ratio, report, shortfalls


def row(unit: str, bar: Bar | None = None, **reached: float) -> Row:
    names = {"ours": OURS, "lookup": LOOKUP, "theirs": THEIRS, "bench": BENCH}
    return Row("work", unit, bar, {names[name]: [value / 2, value, 3 * value] for name, value in reached.items()})


def test_a_ratio_is_to_the_best_of_the_peers() -> None:
    """The best peer has the highest median rate or the lowest median time, and the ratio is relative to it."""
    assert row(RATES, ours=100, theirs=40, bench=50).ratio(OURS) == 2
    assert row(TIMES, ours=100, theirs=400, bench=500).ratio(OURS) == 4
    assert row(RATES, ours=100).ratio(OURS) is None
    assert row(RATES, theirs=100).ratio(LOOKUP) is None


def test_a_bar_is_missed_below_it_and_where_nothing_was_measured() -> None:
    """A contestant that did not run misses its bar."""
    assert not row(RATES, Bar(OURS, 2.0), ours=100, theirs=50).missed
    assert "1.99" in row(RATES, Bar(OURS, 2.0), ours=99.5, theirs=50).missed
    assert "not measured" in row(RATES, Bar(LOOKUP, 2.0), ours=100, theirs=50).missed
    assert not row(RATES, ours=1, theirs=50).missed


def test_a_row_has_a_cell_for_every_title() -> None:
    """A contestant that did not do a task has an empty cell."""
    cells = dict(zip(TITLES, row(RATES, Bar(OURS, 2.0), ours=100, theirs=40).cells(), strict=True))

    assert (cells[OURS], cells[LOOKUP], cells[THEIRS]) == ("100.0", "", "40.0")
    assert (cells["ratio"], cells["ratio with lookup"], cells["at least"]) == ("2.50", "", "2 (Pellucid)")


def asked(side: str, kind: Kind, *milliseconds: float | None, computed: int = 1) -> list[AskedKeystroke]:
    return [
        AskedKeystroke(side, Mode.SETTLED, "a.py", kind, *((None,) * 4 if one is None else (one, computed, 500, 24)))
        for one in milliseconds
    ]


def test_keystrokes_are_held_to_their_bars() -> None:
    """Medians, slow keystrokes and tokens at appends are each judged; tokens are those of Pellucid alone."""
    theirs = asked(THEIR_SIDE, Kind.APPEND, *[1000.0] * 20, computed=254)

    assert shortfalls(asked(OUR_SIDE, Kind.APPEND, *[300.0] * 19, 400.0) + theirs) == []
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[301.0] * 20) + theirs)) == 1
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[100.0] * 18, 401.0, 401.0) + theirs)) == 1
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[100.0] * 20, computed=9) + theirs)) == 1


def test_keystrokes_without_an_answer_have_no_time() -> None:
    """Keystrokes without an answer are only counted: a kind that one side never answered has no ratio."""
    found = asked(OUR_SIDE, Kind.JUMP, 100.0, None) + asked(THEIR_SIDE, Kind.JUMP, None, None)
    lines = report(found).split("\n")

    assert lines[2].startswith(f"| {Kind.JUMP} | 2 | 1 | 100 / 100 / 100 | 1 (1) of 500 | 24 | 0 | ")
    assert lines[2].count("|") == lines[0].count("|")
    assert ratio(found[:1] + asked(THEIR_SIDE, Kind.JUMP, 400.0), 0.5) == 0.25


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.75, 3), (0.76, 4), (0.99, 4), (0.01, 1)])
def test_a_quantile_is_one_of_the_values(share: float, value: float) -> None:
    """A quantile is the smallest value that a share of the values does not exceed, in any order."""
    assert quantile([4, 1, 3, 2], share) == value


def test_a_short_row_is_filled() -> None:
    """Missing last columns are filled with empty cells."""
    assert table(["a", "b"], [["1"]]) == "| a | b |\n|---|---|\n| 1 |  |"


def test_an_edit_names_what_a_file_is_about() -> None:
    """The function to rename is the one that the file uses most; special methods keep their names."""
    text = "def first(): ...\nclass A:\n    def __init__(self): second()\ndef second(): first(); second()\n"

    assert functions(text) == ["first", "second"]
    assert most_named(text, functions(text)) == "second"
    assert functions("def (") == []


def test_the_end_of_a_text_begins_with_a_line() -> None:
    """A tail has as many whole lines as fit, or all of a text that fits."""
    assert tail("abc\ndef\nghi", 7) == "def\nghi"
    assert tail("abc\ndef\nghi", 8) == "def\nghi"
    assert tail("abc", 8) == "abc"
