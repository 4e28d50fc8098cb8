"""Tests the histograms of a reading."""

from __future__ import annotations

from math import log

from pellucid.vocabulary.token import Token
from pellucid_webui.inspection.histograms import MAX_STEPS, histograms
from pellucid_webui.inspection.reading_figures import ReadingFigures


def token(bits: float | None, rank: int | None = None, entropy_bits: float | None = None) -> Token:
    entropy = None if entropy_bits is None else entropy_bits * log(2)
    return Token(1, "b", b"b", 0, None if bits is None else -bits * log(2), rank, entropy)


READING = ReadingFigures(
    "m", (token(None), token(0.5, 1, 0.1), token(0.7, 10, 0.2), token(2.5, 11, 1.7), token(900.0, 5000, 0.4))
)


def test_ranks() -> None:
    """Ranks are counted in the classes of GLTR."""
    _, ranks, _ = histograms(READING)
    assert dict(zip(ranks.labels, ranks.counts, strict=True)) == {"1–10": 2, "11–100": 1, "101–1000": 0, "1001+": 1}


def test_steps() -> None:
    """Surprisals and entropies are counted in equal steps, including empty steps."""
    surprisals, _, entropies = histograms(ReadingFigures("m", READING.tokens[:4]))
    assert dict(zip(surprisals.labels, surprisals.counts, strict=True)) == {"0–1": 2, "1–2": 0, "2–3": 1}
    assert dict(zip(entropies.labels, entropies.counts, strict=True)) == {
        "0–0.5": 2,
        "0.5–1": 0,
        "1–1.5": 0,
        "1.5–2": 1,
    }


def test_the_last_step_is_open() -> None:
    """An extreme token adds no bars: the last bar counts all larger values."""
    surprisals, *_ = histograms(READING)
    assert len(surprisals.counts) == len(surprisals.labels) == MAX_STEPS
    assert (surprisals.labels[-1], surprisals.counts[-1]) == ("23+", 1)


def test_entropies_that_are_not_exact() -> None:
    """A token without an exact entropy is not counted, and a note has the number."""
    ranged = Token(1, "b", b"b", 0, -1.0, 1, None, entropy_range=(0.1, 2.0))
    surprisals, ranks, entropies = histograms(ReadingFigures("m", (*READING.tokens[:3], ranged, token(1.0, 2))))
    assert sum(surprisals.counts) == sum(ranks.counts) == 4
    assert sum(entropies.counts) == 2
    assert entropies.note == "Not counted: 2 tokens whose exact entropy the engine does not report."
    assert [one.note for one in histograms(READING)] == ["", "", ""]


def test_nothing_read() -> None:
    """A text without tokens has empty histograms."""
    assert [sum(one.counts) for one in histograms(ReadingFigures("m", ()))] == [0, 0, 0]
