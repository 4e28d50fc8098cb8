"""Tests of the places at which an edit can be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.context.search_budget import FindFiles, SearchBudget
from pellucid.completion.edits.candidate import Candidate, Evidence
from pellucid.completion.edits.edit_history import MAX_CHARACTERS, MAX_EDITS, Edit, EditHistory, difference
from pellucid.completion.edits.places_elsewhere import MAX_PLACES, find_elsewhere
from pellucid.completion.edits.repeated_edits import MAX_CANDIDATES, names_to_search, repeated_edits

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
        "size = size + size0",
        0,
        "count = size + size0",
        {(0, "count = count + size0")},
    ),
    "a name of one letter, in its function only": (
        "def f(k):|  return k + d.k|def g(k):|  return k",
        0,
        "def f(factor):",
        {(1, "  return factor + d.k")},
    ),
    "no other class's method": (
        "class A:|  def go(self):|    pass|class B:|  def go(self):|    self.go()",
        1,
        "  def run(self):",
        set(),
    ),
    "neither comment nor string": (
        "def total(a):|  # the total|  return 'total'|total(1)",
        0,
        "def sums(a):",
        {(3, "sums(1)")},
    ),
    "code in a string": ("n = 2|x = f'{n} n'", 0, "size = 2", {(1, "x = f'{size} n'")}),
    "an argument of unlike calls": (
        "get(url)||get(f(a, b), 'x')|put(path)",
        0,
        "get(url, wait=5)",
        {(2, "get(f(a, b), 'x', wait=5)")},
    ),
    "a parameter less": ("def f(a, b, c):|  pass|f(1, g(2, 3), 4)|f(1)", 0, "def f(a, c):", {(2, "f(1, 4)")}),
    "a parameter known where the function is called": (
        "def f(a):|  pass|def g(b, c):|  f(b)|f(1)",
        0,
        "def f(a, c):",
        {(3, "  f(b, c)")},
    ),
    "swapped parameters": ("def f(a, b):|  pass|f(1, g(2))", 0, "def f(b, a):", {(2, "f(g(2), 1)")}),
    "an operator": ("if name == a:|x|if name == b:", 0, "if name != a:", {(2, "if name != b:")}),
    "no number of another name": ("page = 20|x|height = 20", 0, "page = 50", set()),
    "no moved line": ("first,|second,|x|first,|y", 0, None, {(2, None)}),
    "no comment behind a line": ("f(a)|x|f(b)", 0, "f(a)  # noqa", set()),
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


A = "file:///p/a.py"
RENAMED = Edit(A, 0, ("x = total(a)",), ("x = mean(a)",))
WORDY = Edit(A, 0, ("return total(self.prices)",), ("return total(self.prices, rounded=True)",))


def finder(*texts: str) -> FindFiles:
    def find(names: Collection[str], budget: SearchBudget) -> Iterator[tuple[str, str]]:
        budget.files = len(texts)
        for number, text in enumerate(texts):
            budget.searched += 1
            yield f"file:///p/{number}.py", text

    return find


async def found(edit: Edit, *texts: str) -> list[tuple[str, tuple[str, ...]]]:
    search = await find_elsewhere(edit, A, finder(*texts))
    return [(place.change.uri.removeprefix("file:///p/"), place.change.new) for place in search.places]


async def test_files_take_turns() -> None:
    """Files take turns, so a file with many places leaves room, and the places are limited."""
    many = "x = total(a)\n" * 40
    places = await found(RENAMED, many, many, "x = total(a)\n")
    assert [name for name, _ in places[:4]] == ["0.py", "1.py", "2.py", "0.py"]
    assert len(places) == MAX_PLACES


@pytest.mark.parametrize(
    ("edit", "line", "new"),
    [
        (RENAMED, "y = total(b)", "y = mean(b)"),
        (WORDY, "return total(self.prices)", "return total(self.prices, rounded=True)"),
        (WORDY, "return total(self.costs)", None),
        (Edit(A, 0, ("from shop import total",), ("from shop import mean, total",)), "from shop import total", None),
        (Edit(A, 0, ("import total",), ("import mean",)), "import total", "import mean"),
        (Edit(A, 0, ("debug(first)",), ()), "debug(first)", ""),
        (Edit(A, 0, ("debug(first)",), ()), "debug(second)", None),
        (Edit(A, 0, ("import total",), ()), "import total", None),
    ],
)
async def test_what_has_to_be_the_same(edit: Edit, line: str, new: str | None) -> None:
    """A replaced name suffices, else all code around must be equal and no import."""
    places = await found(edit, f"{line}\nlast = 1\n")
    assert places == ([] if new is None else [("0.py", (new,) if new else ())])


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (RENAMED, {"total"}),
        (WORDY, {"prices"}),
        (Edit(A, 0, ("debug(first_order)",), ()), {"first_order"}),
        (Edit(A, 0, ("import total",), ()), set()),
        (Edit(A, 0, (), ("x = 1",)), set()),
        (Edit(A, 0, ("x = total(a)",) * 40, ("x = mean(a)",) * 40), set()),
    ],
)
def test_names_that_are_looked_for(edit: Edit, names: set[str]) -> None:
    """The longest name of a place is searched, and no name if the edit is not repeated."""
    assert names_to_search(edit) == names


async def test_the_time_for_searching() -> None:
    """The search reports files left out because the time was over."""
    assert (await find_elsewhere(RENAMED, A, finder("x = total(a)\n"))).budget.is_complete
    late = await find_elsewhere(RENAMED, A, finder("x = total(a)\n"), seconds=-1.0)
    assert (late.places, late.budget.is_complete, str(late.budget)) == ([], False, "0 of 1 files")


async def test_a_cancelled_search_ends() -> None:
    """A cancelled search reads no further file."""
    begun, ended = Event(), Event()

    def endless(names: Collection[str], budget: SearchBudget) -> Iterator[tuple[str, str]]:
        try:
            while True:
                begun.set()
                yield "file:///p/b.py", "x = total(a)\n"
        finally:
            ended.set()

    search = asyncio.create_task(find_elsewhere(RENAMED, A, endless, seconds=1000.0))
    await asyncio.to_thread(begun.wait)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert await asyncio.to_thread(ended.wait, 60)


EDITED, B = "file:///a.py", "file:///b.py"
LINES = st.lists(st.sampled_from(["", "x", "y", "    x"]), max_size=8)


def history(*texts: str) -> EditHistory:
    made = EditHistory()
    for text in texts:
        made.note(EDITED, text)
    return made


@given(LINES, LINES)
def test_a_difference_makes_the_one_of_the_other(old: list[str], new: list[str]) -> None:
    """The edit between two texts turns the first into the second; only equal texts have none."""
    edit = difference(EDITED, old, new)
    if edit is None:
        assert old == new
    else:
        assert [*old[: edit.first], *edit.new, *old[edit.first + len(edit.old) :]] == new
        assert tuple(old[edit.first : edit.first + len(edit.old)]) == edit.old


def test_keystrokes_at_one_place_are_one_edit() -> None:
    """A text typed letter by letter is a single edit of whole lines."""
    made = history("a\nb\nc", "a\nbx\nc", "a\nbxy\nc", "a\nbxy\nz\nc")
    assert made.edits() == [Edit(EDITED, 1, ("b",), ("bxy", "z"))]


def test_a_change_elsewhere_begins_another_edit() -> None:
    """An edit ends at a change elsewhere, and an insertion above moves the edit down."""
    made = history("a\nb\nc\nd\ne", "a\nb\nc\nd\nE", "a\nb\nc\nd\nE!", "new\na\nb\nc\nd\nE!")
    assert made.edits() == [Edit(EDITED, 5, ("e",), ("E!",)), Edit(EDITED, 0, (), ("new",))]


def test_an_undone_edit_is_none() -> None:
    """An edit that the user undid is removed, at once or after a later edit."""
    assert history("a\nb", "a\nbx", "a\nb").edits() == []
    again = history("a\nb\nc\nd", "A\nb\nc\nd", "A\nb\nc\nD", "a\nb\nc\nD")
    assert again.edits() == [Edit(EDITED, 3, ("d",), ("D",))]


def test_documents_have_their_own_edits() -> None:
    """Each document has its own last edit, and a closed document has no edits."""
    made = history("a", "x")
    made.note(B, "b")
    made.note(B, "y")
    assert made.edits() == [Edit(EDITED, 0, ("a",), ("x",)), Edit(B, 0, ("b",), ("y",))]
    made.note(EDITED, "xx")
    assert [edit.uri for edit in made.edits()] == [B, EDITED], "the last one is that of the last change"
    made.forget(EDITED)
    assert made.edits() == [Edit(B, 0, ("b",), ("y",))]
    made.clear()
    assert made.edits() == []


def test_an_edit_is_continued_after_another_one_was_undone() -> None:
    """A line edited again is still a single edit if a change elsewhere was undone meanwhile."""
    made = history("a\nb\nc\nd", "A\nb\nc\nd", "A\nb\nc\nD", "A\nb\nc\nd", "AB\nb\nc\nd")
    assert made.edits() == [Edit(EDITED, 0, ("a",), ("AB",))]


def test_the_last_edit_is_the_latest_change() -> None:
    """Edits of all documents are in the order of their ends."""
    made = history("a")
    made.note(EDITED, "x")
    for text in ("b\n\n\nc", "B\n\n\nc", "B\n\n\nC", "B\n\n\nc"):
        made.note(B, text)
    assert made.edits() == [Edit(EDITED, 0, ("a",), ("x",)), Edit(B, 0, ("b",), ("B",))]


def test_the_history_is_bounded() -> None:
    """Only the last edits are kept, and documents that are too long are not followed."""
    made = EditHistory()
    text = "\n".join("abc" for _ in range(100))
    made.note(EDITED, text)
    lines = text.split("\n")
    for index in range(0, 100, 4):
        lines[index] = "x"
        made.note(EDITED, "\n".join(lines))
    assert len(made.edits()) == MAX_EDITS
    made.note(EDITED, "x" * (MAX_CHARACTERS + 1))
    assert made.edits() == []


@pytest.mark.parametrize(
    ("line", "evidence"),
    [("from sums import total", Evidence.UNDEFINED), ("from others import total", Evidence.ALIKE)],
)
def test_import_of_a_renamed_definition(line: str, evidence: Evidence) -> None:
    """An import of a name whose definition was renamed has to follow, in its module only."""
    edit = Edit("file:///sums.py", 0, ("def total(items):",), ("def amount(items):",))
    (change,) = repeated_edits(edit, [line, ""], "file:///till.py")
    assert (change.new, change.evidence) == ((line.replace("total", "amount"),), evidence)
