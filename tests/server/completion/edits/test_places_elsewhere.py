"""Tests of the search for places in other files, without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from threading import Event

import pytest

from pellucid.completion.context.search_budget import FindFiles, SearchBudget
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.places_elsewhere import MAX_PLACES, find_elsewhere
from pellucid.completion.edits.repeated_edits import names_to_search

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
