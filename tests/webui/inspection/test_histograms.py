"""Tests the histograms of a reading."""

from __future__ import annotations

import json
from math import log
from typing import Any

from plotly import graph_objects

from pellucid.tokens import Token
from pellucid_webui.inspection.histograms import COLOURS, entropy_histogram, rank_histogram
from pellucid_webui.inspection.reading_figures import ENTROPY_STEP, ReadingFigures

READING = ReadingFigures(
    "m",
    (
        Token(0, "a", b"a", 0, None, None, None),
        Token(1, "b", b"b", 1, -1.0, 1, 0.1 * log(2)),
        Token(1, "b", b"b", 2, -1.0, 10, 0.2 * log(2)),
        Token(1, "b", b"b", 3, -1.0, 11, 1.7 * log(2)),
        Token(1, "b", b"b", 4, -1.0, 5000, 0.4 * log(2)),
    ),
)


def bars(figure: graph_objects.Figure) -> dict[str, Any]:
    """Return the bars as the browser gets them."""
    (found,) = json.loads(figure.to_json())["data"]
    assert isinstance(found, dict)
    return found


def test_ranks() -> None:
    """Each bin of ranks has a bar with its own colour and the number of its tokens."""
    found = bars(rank_histogram(READING))
    assert dict(zip(found["x"], found["y"], strict=True)) == {"1–10": 2, "11–100": 1, "101–1000": 0, "1001+": 1}
    assert found["marker"]["color"] == list(COLOURS)


def test_entropies() -> None:
    """Entropies are in bits; each bar is centred on its step, empty steps are included, and bars do not overlap."""
    found = bars(entropy_histogram(READING))
    assert dict(zip(found["x"], found["y"], strict=True)) == {0.25: 3, 0.75: 0, 1.25: 0, 1.75: 1}
    assert found["width"] <= ENTROPY_STEP


def test_nothing_read() -> None:
    """A text without any choice has histograms without bars."""
    empty = ReadingFigures("m", ())
    assert sum(bars(rank_histogram(empty))["y"]) == 0
    assert bars(entropy_histogram(empty))["y"] == []
