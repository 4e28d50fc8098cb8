"""The verdicts of a comparison of servers follow from the measurements."""

from __future__ import annotations

from common.race_row import BENCH, LOOKUP, OURS, RATES, THEIRS, TIMES, TITLES, Bar, Row


def row(unit: str, bar: Bar | None = None, **reached: float) -> Row:
    names = {"ours": OURS, "lookup": LOOKUP, "theirs": THEIRS, "bench": BENCH}
    return Row("work", unit, bar, {names[name]: [value / 2, value, 3 * value] for name, value in reached.items()})


def test_a_ratio_is_to_the_best_of_the_peers() -> None:
    """The ratio is relative to the peer with the highest median rate or the lowest median time."""
    assert row(RATES, ours=100, theirs=40, bench=50).ratio(OURS) == 2
    assert row(TIMES, ours=100, theirs=400, bench=500).ratio(OURS) == 4
    assert row(RATES, ours=100).ratio(OURS) is None
    assert row(RATES, theirs=100).ratio(LOOKUP) is None


def test_a_bar_is_missed_below_it_and_where_nothing_was_measured() -> None:
    """A contestant misses a bar with a low ratio or without measurements."""
    assert not row(RATES, Bar(OURS, 2.0), ours=100, theirs=50).missed
    assert "1.99" in row(RATES, Bar(OURS, 2.0), ours=99.5, theirs=50).missed
    assert "not measured" in row(RATES, Bar(LOOKUP, 2.0), ours=100, theirs=50).missed
    assert not row(RATES, ours=1, theirs=50).missed


def test_a_row_has_a_cell_for_every_title() -> None:
    """A contestant without a measurement has an empty cell."""
    cells = dict(zip(TITLES, row(RATES, Bar(OURS, 2.0), ours=100, theirs=40).cells(), strict=True))

    assert (cells[OURS], cells[LOOKUP], cells[THEIRS]) == ("100.0", "", "40.0")
    assert (cells["ratio"], cells["ratio with lookup"], cells["at least"]) == ("2.50", "", "2 (Pellucid)")
