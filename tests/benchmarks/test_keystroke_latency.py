"""The bars of the latency of keystrokes."""

from __future__ import annotations

from common.typed_lines import Kind
from keystroke_latency import OURS as OUR_SIDE
from keystroke_latency import THEIRS as THEIR_SIDE
from keystroke_latency import AskedKeystroke, Mode, ratio, report, shortfalls


def asked(side: str, kind: Kind, *milliseconds: float | None, computed: int = 1) -> list[AskedKeystroke]:
    return [
        AskedKeystroke(side, Mode.SETTLED, "a.py", kind, *((None,) * 4 if one is None else (one, computed, 500, 24)))
        for one in milliseconds
    ]


def test_keystrokes_are_held_to_their_bars() -> None:
    """Medians, slow keystrokes and tokens at appends are judged, tokens only for Pellucid."""
    theirs = asked(THEIR_SIDE, Kind.APPEND, *[1000.0] * 20, computed=254)

    assert shortfalls(asked(OUR_SIDE, Kind.APPEND, *[300.0] * 19, 400.0) + theirs) == []
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[301.0] * 20) + theirs)) == 1
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[100.0] * 18, 401.0, 401.0) + theirs)) == 1
    assert len(shortfalls(asked(OUR_SIDE, Kind.APPEND, *[100.0] * 20, computed=9) + theirs)) == 1


def test_keystrokes_without_an_answer_have_no_time() -> None:
    """Keystrokes without an answer are only counted, and have no ratio."""
    found = asked(OUR_SIDE, Kind.JUMP, 100.0, None) + asked(THEIR_SIDE, Kind.JUMP, None, None)
    lines = report(found).split("\n")

    assert lines[2].startswith(f"| {Kind.JUMP} | 2 | 1 | 100 / 100 / 100 | 1 (1) of 500 | 24 | 0 | ")
    assert lines[2].count("|") == lines[0].count("|")
    assert ratio(found[:1] + asked(THEIR_SIDE, Kind.JUMP, 400.0), 0.5) == 0.25
