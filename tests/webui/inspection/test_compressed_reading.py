"""Tests stored readings: without alternatives in memory, and with alternatives in parts."""

from __future__ import annotations

import json
from dataclasses import replace

from pellucid_webui.conversations.compact_tokens import record
from pellucid_webui.inspection.compressed_reading import BATCH_TOKENS, PART_TOKENS, CompressedReading
from support.page.text_reader import long_text, pieces, read_token

TEXTS = pieces(long_text(60))
TOKENS = [read_token(text, position) for position, text in enumerate(TEXTS)]


def stored() -> CompressedReading:
    found = CompressedReading("m")
    for token in TOKENS:
        found.append(token)
    return found


def test_alternatives_are_kept_apart() -> None:
    """Tokens in memory have no alternatives, and all parts of a reading have all."""
    reading = stored()
    assert reading.tokens == [replace(token, top=()) for token in TOKENS]
    parts = len(TOKENS) // PART_TOKENS + 1
    found = [one for number in range(parts) for one in json.loads(reading.part(number))]
    assert found == [record(token) for token in TOKENS]
    assert reading.part(parts) == reading.part(-1) == "[]"


def test_export_has_alternatives() -> None:
    """An export has the exact figures and the alternatives."""
    found = stored().with_alternatives()
    assert [token.logprob for token in found.tokens] == [token.logprob for token in TOKENS]
    assert [[one.text for one in token.top] for token in found.tokens] == [
        [one.text for one in token.top] for token in TOKENS
    ]


def test_columns() -> None:
    """Columns begin at the requested token, are limited, and have bytes only if not in the text."""
    reading = stored()
    found = reading.columns(5)
    assert found["t"] == TEXTS[5 : 5 + BATCH_TOKENS]
    assert len(found["l"]) == len(found["r"]) == len(found["e"]) == len(found["t"])
    assert found["b"] == {}
    half = CompressedReading("m")
    half.append(replace(TOKENS[1], text="", bytes=b"\xf0\x9f"))
    assert half.columns(0)["b"] == {"0": "8J8="}
    assert reading.columns(len(TOKENS))["t"] == []


def test_ranges_of_entropies() -> None:
    """Bounds of entropies are sent by index if present, and exported."""
    assert "h" not in stored().columns(0)
    ranged = CompressedReading("m")
    for token in (TOKENS[1], replace(TOKENS[2], entropy=None, entropy_range=(0.5, 1.25))):
        ranged.append(token)
    assert (ranged.columns(0)["h"], ranged.columns(0)["e"][1]) == ({"1": [0.5, 1.25]}, None)
    assert ranged.columns(1)["h"] == {"0": [0.5, 1.25]}
    assert ranged.with_alternatives().tokens[1].entropy_range == (0.5, 1.25)


def test_nothing_is_sent_twice() -> None:
    """A long text is sent in batches without overlap."""
    many = CompressedReading("m")
    for position in range(BATCH_TOKENS + 10):
        many.append(replace(TOKENS[1], text=f"{position} "))
    assert len(many.columns(0)["t"]) == BATCH_TOKENS
    assert "".join(many.columns(0)["t"] + many.columns(BATCH_TOKENS)["t"]) == "".join(
        token.text for token in many.tokens
    )
