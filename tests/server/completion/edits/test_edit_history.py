"""Tests of what counts as one edit of a document, and of where it is after later changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.edits.edit_history import MAX_CHARACTERS, MAX_EDITS, Edit, EditHistory, difference

A, B = "file:///a.py", "file:///b.py"
LINES = st.lists(st.sampled_from(["", "x", "y", "    x"]), max_size=8)


def history(*texts: str) -> EditHistory:
    """Return the history of a document with these texts, one after the other."""
    made = EditHistory()
    made.open(A, texts[0])
    for text in texts[1:]:
        made.change(A, text)
    return made


@given(LINES, LINES)
def test_a_difference_makes_the_one_of_the_other(old: list[str], new: list[str]) -> None:
    """The edit between two texts makes the second of the first, and is empty only if they are equal."""
    edit = difference(A, old, new)
    if edit is None:
        assert old == new
    else:
        assert [*old[: edit.first], *edit.new, *old[edit.first + len(edit.old) :]] == new
        assert tuple(old[edit.first : edit.first + len(edit.old)]) == edit.old


def test_keystrokes_at_one_place_are_one_edit() -> None:
    """A text that is typed letter by letter is one edit, from the line before the first letter to the line after the last."""
    made = history("a\nb\nc", "a\nbx\nc", "a\nbxy\nc", "a\nbxy\nz\nc")
    assert made.edits() == [Edit(A, 1, ("b",), ("bxy", "z"))]


def test_a_change_elsewhere_begins_another_edit() -> None:
    """An edit ends when the document changes at another place; what was inserted above moves it down."""
    made = history("a\nb\nc\nd\ne", "a\nb\nc\nd\nE", "a\nb\nc\nd\nE!", "new\na\nb\nc\nd\nE!")
    assert made.edits() == [Edit(A, 5, ("e",), ("E!",)), Edit(A, 0, (), ("new",))]
    assert made.latest(A) == Edit(A, 0, (), ("new",))


def test_an_undone_edit_is_none() -> None:
    """Nothing is left of an edit that the user took back, at once or after another one."""
    assert history("a\nb", "a\nbx", "a\nb").latest(A) is None
    again = history("a\nb\nc\nd", "A\nb\nc\nd", "A\nb\nc\nD", "a\nb\nc\nD")
    assert again.edits() == [Edit(A, 3, ("d",), ("D",))]


def test_documents_have_their_own_edits() -> None:
    """The last edit of a document is not that of another one, and a closed document leaves none."""
    made = history("a", "x")
    made.open(B, "b")
    made.change(B, "y")
    assert (made.latest(A), made.latest(B)) == (Edit(A, 0, ("a",), ("x",)), Edit(B, 0, ("b",), ("y",)))
    made.forget(A)
    assert (made.latest(A), made.edits()) == (None, [Edit(B, 0, ("b",), ("y",))])


def test_the_history_is_bounded() -> None:
    """Only the last edits are kept, and documents that are too long are not followed."""
    made = EditHistory()
    text = "\n".join("abc" for _ in range(100))
    made.open(A, text)
    lines = text.split("\n")
    for index in range(0, 100, 4):
        lines[index] = "x"
        made.change(A, "\n".join(lines))
    assert len(made.edits()) == MAX_EDITS
    made.change(A, "x" * (MAX_CHARACTERS + 1))
    assert made.edits() == []
