"""Looks for places in other documents and files where an edit can be repeated."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.completion.context.search_budget import FindFiles, SearchBudget
from pellucid.completion.context.uris import same_document
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.repeated_edits import Candidate, names_to_search, repeated_edits

SEARCH_SECONDS = 2.0
"""By default no further file is searched after this time."""

MAX_PLACES = 64
"""Places that are returned at most."""

YIELD_SECONDS = 0.001
"""The pause after each file, so that keystrokes are answered meanwhile."""


@dataclass(frozen=True, slots=True)
class Place:
    """A change of another document, and the lines of that document."""

    change: Candidate
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Search:
    """The places that were found, the ones most alike first, and how many files were searched in the time that there was."""

    places: list[Place]
    budget: SearchBudget


async def find_elsewhere(edit: Edit, uri: str, find_files: FindFiles, seconds: float = SEARCH_SECONDS) -> Search:
    """Find the places of other documents than one. Files take turns where places are equally alike.

    Works on another thread, which ends soon after this is cancelled.
    """
    budget = SearchBudget(seconds)
    try:
        return await asyncio.to_thread(_find, edit, uri, find_files, budget)
    finally:
        budget.stopped.set()


def _find(edit: Edit, uri: str, find_files: FindFiles, budget: SearchBudget) -> Search:
    names = names_to_search(edit)
    ranked: list[tuple[float, int, Place]] = []
    for other, text in find_files(names, budget) if names else ():
        if not budget.may_continue():
            budget.searched -= 1  # this one is not
            break
        if same_document(other, uri):
            continue
        lines = text.split("\n")
        ranked += [
            (-change.likeness, turn, Place(change, lines))
            for turn, change in enumerate(repeated_edits(edit, lines, other, 0))
        ]
        time.sleep(YIELD_SECONDS)
    return Search([place for _, _, place in sorted(ranked, key=lambda one: one[:2])[:MAX_PLACES]], budget)
