"""Tests of the places at which an edit can be repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.edits.edit_history import difference
from pellucid.completion.edits.repeated_edits import MAX_CANDIDATES, Candidate, repeated_edits

URI = "file:///a.py"


def proposals(before: str, after: str) -> list[Candidate]:
    edit = difference(URI, before.split("\n"), after.split("\n"))
    assert edit is not None
    return repeated_edits(edit, after.split("\n"))


REPEATED = {
    "a name": ("def total(xs):|  return 1|x = total(a)|subtotal(b)", 0, "def mean(xs):", {(2, "x = mean(a)")}),
    "an argument, whatever the one before is": (
        "get(url)|x|get(path)|put(path)",
        0,
        "get(url, timeout=5)",
        {(2, "get(path, timeout=5)")},
    ),
    "what is there already is not inserted": ("get(url)|x|get(path, timeout=5)", 0, "get(url, timeout=5)", set()),
    "a wrapper around an argument": ("show(name)||show(title)", 0, "show(str(name))", {(2, "show(str(title))")}),
    "no wrapper that is there": ("show(name)|show(str(name))|print(str(title))", 0, "show(str(name))", set()),
    "two changes in a line": ("old.run(fast)||old.run(fast)", 0, "new.walk(fast)", {(2, "new.walk(fast)")}),
    "a sign in like surroundings": (
        "if size < limit:|  x|if size < limit:|a < b",
        0,
        "if size <= limit:",
        {(2, "if size <= limit:")},
    ),
    "the rest of the edited line": (
        "self.size = size + size0",
        0,
        "self.count = size + size0",
        {(0, "self.count = count + size0")},
    ),
    "no half of a pair of brackets": ("a = call(name, list(other))|x = list(other))", 0, "a = name", set()),
    "a line below one alike": ("add(first)|add(second)", 1, "log(first)|add(second)", {(3, "log(second)")}),
    "a line with another indentation": (
        "add(first)|if x:|  add(second)",
        1,
        "log(first)|if x:",
        {(4, "  log(second)")},
    ),
    "no import, which a document has once": ("import first|import second", 1, "import other|import second", set()),
    "the deletion of a line": ("debug(first)|a|b|debug(second)|c", 0, None, {(2, None)}),
    "no deletion at the end": ("debug(first)|a|b|debug(second)|", 0, None, set()),
}
"""Lines, the edited line (from 0), the new line (None if deleted), and the proposals."""


@pytest.mark.parametrize("case", REPEATED)
def test_repeated(case: str) -> None:
    """The same change is proposed in equal code, and in code that differs in neighbouring words."""
    text, at, line, expected = REPEATED[case]
    before = text.split("|")
    after = [*before[:at], *([] if line is None else line.split("|")), *before[at + 1 :]]
    found = proposals("\n".join(before), "\n".join(after))
    assert {(one.first, "|".join(one.new) if one.new else None) for one in found} == expected


def test_the_likeliest_first() -> None:
    """Places with more equal code around them are first, then places near the edit."""
    before = "x = total(a, b)\n" + "total\n" + "y = total(c, d)\n" + "x = total(a, b)\n" * 2
    found = proposals(before, before.replace("total", "mean", 1))
    assert [one.first for one in found] == [3, 4, 2, 1]


def test_the_number_of_proposals_is_bounded() -> None:
    """The number of proposals is bounded for a name in all lines."""
    before = "total(a)\n" * 200
    assert len(proposals(before, before.replace("total", "mean", 1))) == MAX_CANDIDATES


def test_deletions_do_not_overlap() -> None:
    """Only two of three lines like two deleted lines are proposed for deletion."""
    after = "x = 1\ndebug(a)\ndebug(b)\ndebug(c)\ny = 2\n"
    (one,) = proposals(f"debug(first)\ndebug(second)\n{after}", after)
    assert len(one.old) == 2


def test_long_edits_and_lines() -> None:
    """Very long lines are neither repeated nor changed, and cost no time."""
    assert proposals("x = [" + "1, " * 20_000 + "]\ntotal(a)\n", "x = [" + "2, " * 20_000 + "]\ntotal(a)\n") == []
    before = "total(a)\nx = [" + "total(b), " * 20_000 + "]\ntotal(c)\n"
    assert [one.first for one in proposals(before, before.replace("total", "mean", 1))] == [2]


TEXTS = st.lists(
    st.sampled_from(["f(a)", "f(b)", "    g(a, b)", "x = a + b", "", "if a:", "return [a]"]), min_size=1, max_size=8
)


@given(
    TEXTS, st.integers(0, 7), st.sampled_from(["f(c)", "f(a, 1)", "    g(b, a)", "", "x = a * b", "y"]), st.booleans()
)
def test_proposals_are_changes_of_the_document(lines: list[str], at: int, line: str, replace: bool) -> None:
    """Each proposal changes existing lines, and no two proposals change the same lines."""
    at %= len(lines)
    after = [*lines[:at], line, *lines[at + replace :]]
    edit = difference(URI, lines, after)
    if edit is None:
        return
    found = repeated_edits(edit, after)
    assert not any(one.overlaps(other) for index, one in enumerate(found) for other in found[:index])
    for one in found:
        assert tuple(after[one.first : one.first + len(one.old)]) == one.old
        assert one.old != one.new
        assert 0 <= one.likeness <= 1


def test_overlaps() -> None:
    """Changes of the same lines overlap, and insertions at the same place, but not neighbours."""
    insertion, line = Candidate(URI, 2, (), ("x",), 1.0), Candidate(URI, 2, ("a",), ("b",), 1.0)
    assert insertion.overlaps(Candidate(URI, 2, (), ("y",), 0.5))
    assert line.overlaps(Candidate(URI, 1, ("a", "b"), (), 0.5))
    assert not insertion.overlaps(Candidate(URI, 3, (), ("x",), 1.0))
    assert not insertion.overlaps(line)
    assert not line.overlaps(Candidate(URI, 3, ("a",), ("b",), 1.0))
