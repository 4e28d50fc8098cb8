"""Replayed keystrokes behave as in an editor: each text follows from the previous text."""

from __future__ import annotations

import itertools
import random

from common.typed_lines import FAR, Buffer, Keystroke, Kind, runs, visit

CODE = [f"    value_{number} = compute({number})" for number in range(400)]
HOME, WRITTEN = 200, 2


def keystrokes(seed: int = 0) -> list[Keystroke]:
    return list(visit(CODE, HOME, WRITTEN, random.Random(seed)))


def text(keystroke: Keystroke) -> str:
    return keystroke.before + keystroke.after


def test_appending_adds_one_character_left_of_the_cursor() -> None:
    """An appending keystroke adds a character before the cursor and changes no more text."""
    pressed = keystrokes()
    pairs = [(one, other) for one, other in itertools.pairwise(pressed) if other.kind == Kind.APPEND]

    assert pairs
    for one, other in pairs:
        assert other.before[:-1] == one.before
        assert other.after == one.after


def test_the_lines_are_written_as_they_were() -> None:
    """Before the jump the file equals the original, except for a comment line above."""
    (last,) = [one for one in keystrokes() if one.kind == Kind.MID_LINE][-1:]
    lines = text(last).split("\n")

    assert [line for line in lines if not line.startswith("# checked")] == CODE
    assert len(lines) == len(CODE) + 1


def test_an_edit_above_leaves_the_cursor_at_its_text() -> None:
    """A change above is above the cursor's line, and the text after the cursor stays."""
    pressed = keystrokes()
    (at,) = [index for index, one in enumerate(pressed) if one.kind == Kind.ABOVE]
    before, above = pressed[at - 1], pressed[at]

    assert above.after == before.after
    assert above.before.count("\n") == before.before.count("\n") + 1
    assert above.before.rpartition("\n")[2] == before.before.rpartition("\n")[2] + "v"


def test_a_jump_goes_far() -> None:
    """After a jump, the cursor is many lines away, with the indentation of the line above."""
    *_, edit, jump = keystrokes()

    assert jump.kind == Kind.JUMP
    assert abs(jump.before.count("\n") - edit.before.count("\n")) >= FAR - 1
    assert jump.before.endswith("\n    ")


def test_every_kind_is_sampled_and_a_seed_says_where() -> None:
    """A visit has every kind of keystroke in the sample, determined by the seed."""
    assert {one.kind for one in keystrokes() if one.sampled} == set(Kind)
    assert keystrokes(1) == keystrokes(1) != keystrokes(2)


def test_a_buffer_types_lines() -> None:
    """The cursor is after the typed text, on the last line."""
    buffer = Buffer(["ab"], 0, 1)
    buffer.type("1\n2")

    assert (buffer.lines, buffer.row, buffer.column) == (["a1", "2b"], 1, 1)


def test_lines_are_written_where_enough_of_them_are_code() -> None:
    """A run begins where all lines are code of a fitting length, in the middle half of the file."""
    lines = ["x = first(1, 2)", "", "x = second(1, 2)", "x = third(1, 2)", "", "", "", ""]

    assert runs(lines, set(lines), 2) == [2]
    assert runs(lines, {lines[2]}, 2) == []
    assert runs(lines, {lines[2]}, 1) == [2]
