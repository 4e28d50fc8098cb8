"""Tests the figures of a scored text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.inspection.reading_figures import ReadingFigures, surprisal


def read(*texts: str, bits: Sequence[float] = (), data: Sequence[bytes] = ()) -> ReadingFigures:
    """Return a reading of tokens with these surprisals (default 1 bit), except for the first."""
    found = []
    for index, text in enumerate(texts):
        logprob = None if not index else -(bits[index - 1] if bits else 1.0) * math.log(2)
        encoded = data[index] if data else text.encode()
        rank, entropy = (None, None) if not index else (index, index / 4)
        found.append(
            Token(index, text, encoded, index, logprob, rank, entropy, (Alternative(1, "=x", b"=x", -0.5),), 0.25)
        )
    return ReadingFigures("m", tuple(found))


def test_figures() -> None:
    """Perplexity is per token, bits per byte are per byte, and unscored tokens do not count."""
    reading = read("first", "ab", "é", bits=(1.0, 5.0))
    assert reading.bits == pytest.approx(6)
    assert reading.perplexity == pytest.approx(8)
    assert reading.bytes == 4
    assert reading.bits_per_byte == pytest.approx(1.5)


def test_half_characters_count_their_bytes() -> None:
    """The bytes of tokens without text count."""
    reading = read("a", "", "😀", data=(b"a", b"\xf0\x9f", b"\x98\x80"))
    assert reading.bytes == 4


def test_nothing_read() -> None:
    """Without scored tokens there are no figures."""
    for reading in (read(), read("a")):
        assert (reading.perplexity, reading.bits_per_byte, reading.bits, reading.lines()) == (None, None, 0, [])
        assert json.loads(reading.json())["perplexity"] is None


def test_surprisal() -> None:
    """Surprisal is computed from a logprob."""
    first, second = read("a", "b", bits=(3.0,)).tokens
    assert surprisal(first) == 0
    assert surprisal(second) == pytest.approx(3)


def test_ranks() -> None:
    """Ranks are counted up to and including each border, and above the last."""
    tokens = [Token(0, "x", b"x", 0, -1.0, rank, 0.5) for rank in (1, 10, 11, 100, 1000, 1001, 50_000)]
    reading = ReadingFigures("m", (*tokens, *read("a").tokens))
    assert reading.rank_counts() == [2, 2, 1, 2]
    assert reading.rank_counts([1]) == [1, 6]


def test_lines() -> None:
    """A token belongs to the line of the first character after line ends, or the ended line."""
    reading = read("a", " b", "\n", "c", "\n\n  d", "\r\ne", "\n", bits=(1, 2, 4, 8, 16, 32))
    assert [(line.number, line.text, line.tokens, line.bits, line.most) for line in reading.lines()] == [
        (1, "a b", 2, 3, 2),
        (2, "c", 1, 4, 4),
        (4, "  d\r", 1, 8, 8),
        (5, "e", 2, 48, 32),
    ]
    assert reading.lines()[3].mean == 24
    assert [(line.first, line.peak) for line in reading.lines()] == [(1, 2), (3, 3), (4, 4), (5, 6)]


@given(st.lists(st.text(st.sampled_from("ab\n\r "), max_size=4), min_size=1, max_size=8))
def test_every_line(texts: list[str]) -> None:
    """Each token is in a single line, and each line has the text and the first token."""
    reading = read(*texts)
    lines = reading.lines()
    assert sum(line.tokens for line in lines) == len(texts) - 1
    assert all("".join(texts).split("\n")[line.number - 1] == line.text for line in lines)
    assert [line.number for line in lines] == [reading.line_numbers()[line.first] for line in lines]


@given(st.lists(st.text(max_size=4), min_size=1, max_size=5))
def test_csv(texts: list[str]) -> None:
    """Every token is a row that a CSV reader restores exactly, with its place and its line."""
    reading = read(*texts)
    rows = list(csv.DictReader(io.StringIO(reading.csv(), newline="")))
    assert [row["token"] for row in rows] == texts
    assert [bytes.fromhex(row["bytes_hex"]).decode() for row in rows] == texts
    assert [(row["place"], row["line"]) for row in rows] == [
        (str(place), str(line)) for place, line in enumerate(reading.line_numbers(), 1)
    ]


def test_json() -> None:
    """The JSON has the figures and the rows of all tokens."""
    reading = read("a", "b", bits=(2.0,))
    found = json.loads(reading.json())
    assert [(one["token"], one["line"]) for one in found.pop("tokens")] == [("a", 1), ("b", 1)]
    assert found == {
        "model": "m",
        "perplexity": pytest.approx(4),
        "bits_per_byte": pytest.approx(2),
        "bits": pytest.approx(2),
        "bytes": 1,
    }
