"""Tests of the session's adjustment of probabilities by the outcomes of suggestions."""

from __future__ import annotations

import pytest

from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import DocumentCursor
from pellucid.completion.trust.calibrated_gate import Candidate, decide
from pellucid.completion.trust.calibration import Calibration, CalibrationKind, logistic, logit
from pellucid.completion.trust.session_adjustment import MAX_OFFSET, RATE, SessionAdjustment
from support.editors.token_factory import make_tokens

RAW = Calibration(CalibrationKind.RAW, (), dict.fromkeys(GateLevel, 0.5), {})


def at(before: str, after: str = "\n", uri: str = "file:///a.py", selected: str = "") -> DocumentCursor:
    return DocumentCursor(uri, before, after, "python", selected=selected)


def after(typed: str, *, probability: float = 0.6) -> float:
    """Return the adjustment after "total + 1" was shown behind "x = " and this was typed."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = "), "total + 1", probability)
    for length in range(len(typed) + 1):
        adjustment.note_cursor(at("x = " + typed[:length]))
    return adjustment.offset


def test_a_right_suggestion_raises() -> None:
    """An accepted or fully typed suggestion raises the logit by the probability's lack."""
    assert after("total + 1") == pytest.approx(RATE * 0.4)
    assert after("total + 1\ny = 2") == pytest.approx(RATE * 0.4)


def test_a_wrong_suggestion_lowers() -> None:
    """The first character that differs lowers the logit by the probability, once."""
    assert after("tot") == 0
    assert after("total - 1") == after("y") == pytest.approx(-RATE * 0.6)


@pytest.mark.parametrize(
    "cursor",
    [
        at("x"),
        at("y = 1\nx = t"),
        at("x = t", uri="file:///b.py"),
        at("x = \nnext", "\n"),
        at("x = \nnext line", "\n"),
        at("x = other", "\n", selected="other"),
    ],
    ids=["deleted", "changed above", "another document", "cursor moved down", "typed below", "item of a menu"],
)
def test_other_edits_tell_nothing(cursor: DocumentCursor) -> None:
    """Deleting, changing or typing elsewhere, moving, and choosing in a menu are no outcomes."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = ", "\nnext\n"), "total + 1", 0.6)
    adjustment.note_cursor(cursor)
    assert adjustment.offset == 0


def test_a_bracket_that_the_editor_closes() -> None:
    """A closing bracket from the editor is not the user's answer."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = f"), "(a)", 0.6)
    adjustment.note_cursor(at("x = f(", ")\n"))
    adjustment.note_cursor(at("x = f(a)", "\n"))
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_undone_and_accepted_again() -> None:
    """The same suggestion at the same place counts once."""
    adjustment = SessionAdjustment()
    for _ in range(3):
        adjustment.note_shown(at("x = "), "total + 1", 0.6)
        adjustment.note_cursor(at("x = total + 1"))
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_another_suggestion_at_the_same_place() -> None:
    """The suggestion shown last counts."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = "), "alpha()", 0.6)
    adjustment.note_shown(at("x = "), "beta()", 0.6)
    adjustment.note_cursor(at("x = beta()"))
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_closed_document() -> None:
    """The suggestion in a closed document is forgotten."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at(""), "import os", 0.6)
    adjustment.forget("file:///a.py")
    adjustment.note_cursor(at("x"))
    assert adjustment.offset == 0


def test_one_answer_counts_once() -> None:
    """The rest of a suggestion, offered again while typed, is the same suggestion."""
    adjustment = SessionAdjustment()
    for length in range(len("total + 1") + 1):
        cursor = at("x = " + "total + 1"[:length])
        adjustment.note_cursor(cursor)
        adjustment.note_shown(cursor, "total + 1"[length:] or "end", 0.6)
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_adjustment_is_bounded() -> None:
    """The logit falls by at most ``MAX_OFFSET``, however often suggestions are wrong."""
    adjustment = SessionAdjustment()
    for number in range(100):
        adjustment.note_shown(at(f"{number}"), "a", 0.9)
        adjustment.note_cursor(at(f"{number}b"))
    assert adjustment.offset == -MAX_OFFSET


def test_the_gate_uses_it() -> None:
    """A doubtful suggestion is hidden after wrong suggestions; the verdict has the adjustment."""
    candidates = [
        Candidate(ParsedCursor(at("def f():\n    ret")), make_tokens("urn", " a", p=0.4), Ending.LINE, RAW, offset)
        for offset in (0.0, -0.5)
    ]
    kept, hidden = (decide(candidate, GateLevel.NORMAL) for candidate in candidates)

    assert kept.length == len("urn a")
    assert kept.probability == pytest.approx(0.4)
    assert hidden.length == 0
    assert hidden.values["right"] == pytest.approx(logistic(logit(0.4) - 0.5))
    assert hidden.values["session"] == -0.5
