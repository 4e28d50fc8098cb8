"""Tests of the limits of a single edit, and of an edit's place after later changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.edits.edit_history import MAX_CHARACTERS, MAX_EDITS, Edit, EditHistory, difference

A, B = "file:///a.py", "file:///b.py"
LINES = st.lists(st.sampled_from(["", "x", "y", "    x"]), max_size=8)


def history(*texts: str) -> EditHistory:
    made = EditHistory()
    for text in texts:
        made.note(A, text)
    return made


@given(LINES, LINES)
def test_a_difference_makes_the_one_of_the_other(old: list[str], new: list[str]) -> None:
    """The edit between two texts turns the first into the second; only equal texts have none."""
    edit = difference(A, old, new)
    if edit is None:
        assert old == new
    else:
        assert [*old[: edit.first], *edit.new, *old[edit.first + len(edit.old) :]] == new
        assert tuple(old[edit.first : edit.first + len(edit.old)]) == edit.old


def test_keystrokes_at_one_place_are_one_edit() -> None:
    """A text typed letter by letter is a single edit of whole lines."""
    made = history("a\nb\nc", "a\nbx\nc", "a\nbxy\nc", "a\nbxy\nz\nc")
    assert made.edits() == [Edit(A, 1, ("b",), ("bxy", "z"))]


def test_a_change_elsewhere_begins_another_edit() -> None:
    """An edit ends at a change elsewhere, and an insertion above moves the edit down."""
    made = history("a\nb\nc\nd\ne", "a\nb\nc\nd\nE", "a\nb\nc\nd\nE!", "new\na\nb\nc\nd\nE!")
    assert made.edits() == [Edit(A, 5, ("e",), ("E!",)), Edit(A, 0, (), ("new",))]


def test_an_undone_edit_is_none() -> None:
    """An edit that the user undid is removed, at once or after a later edit."""
    assert history("a\nb", "a\nbx", "a\nb").edits() == []
    again = history("a\nb\nc\nd", "A\nb\nc\nd", "A\nb\nc\nD", "a\nb\nc\nD")
    assert again.edits() == [Edit(A, 3, ("d",), ("D",))]


def test_documents_have_their_own_edits() -> None:
    """Each document has its own last edit, and a closed document has no edits."""
    made = history("a", "x")
    made.note(B, "b")
    made.note(B, "y")
    assert made.edits() == [Edit(A, 0, ("a",), ("x",)), Edit(B, 0, ("b",), ("y",))]
    made.note(A, "xx")
    assert [edit.uri for edit in made.edits()] == [B, A], "the last one is that of the last change"
    made.forget(A)
    assert made.edits() == [Edit(B, 0, ("b",), ("y",))]
    made.clear()
    assert made.edits() == []


def test_an_edit_is_continued_after_another_one_was_undone() -> None:
    """A line edited again is still a single edit if a change elsewhere was undone meanwhile."""
    made = history("a\nb\nc\nd", "A\nb\nc\nd", "A\nb\nc\nD", "A\nb\nc\nd", "AB\nb\nc\nd")
    assert made.edits() == [Edit(A, 0, ("a",), ("AB",))]


def test_the_last_edit_is_the_latest_change() -> None:
    """Edits of all documents are in the order of their ends."""
    made = history("a")
    made.note(A, "x")
    for text in ("b\n\n\nc", "B\n\n\nc", "B\n\n\nC", "B\n\n\nc"):
        made.note(B, text)
    assert made.edits() == [Edit(A, 0, ("a",), ("x",)), Edit(B, 0, ("b",), ("B",))]


def test_the_history_is_bounded() -> None:
    """Only the last edits are kept, and documents that are too long are not followed."""
    made = EditHistory()
    text = "\n".join("abc" for _ in range(100))
    made.note(A, text)
    lines = text.split("\n")
    for index in range(0, 100, 4):
        lines[index] = "x"
        made.note(A, "\n".join(lines))
    assert len(made.edits()) == MAX_EDITS
    made.note(A, "x" * (MAX_CHARACTERS + 1))
    assert made.edits() == []
