"""Search for places in other documents and files to repeat an edit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.completion.context.search_budget import FindFiles, SearchBudget
from pellucid.completion.context.uris import same_document
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.repeated_edits import names_to_search, repeated_edits

SEARCH_SECONDS = 2.0

MAX_PLACES = 64

YIELD_SECONDS = 0.001
"""Pause after each file, to answer keystrokes."""


@dataclass(frozen=True, slots=True)
class Place:
    change: Candidate
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Search:
    """Found places, most similar first, and the number of files searched in time."""

    places: list[Place]
    budget: SearchBudget


async def find_elsewhere(
    edit: Edit, uri: str, find_files: FindFiles, earlier: Sequence[Edit] = (), seconds: float = SEARCH_SECONDS
) -> Search:
    """Find similar places in all documents except ``uri``. Ties are taken round-robin over files.

    ``earlier``: the edits before. The search runs on a thread that ends soon after cancellation.
    """
    budget = SearchBudget(seconds)
    try:
        return await asyncio.to_thread(_find, edit, earlier, uri, find_files, budget)
    finally:
        budget.stopped.set()


def _find(edit: Edit, earlier: Sequence[Edit], uri: str, find_files: FindFiles, budget: SearchBudget) -> Search:
    names = names_to_search(edit)
    ranked: list[tuple[float, int, Place]] = []
    for other, text in find_files(names, budget) if names else ():
        if not budget.may_continue():
            budget.searched -= 1  # This file was not searched
            break
        if same_document(other, uri):
            continue
        lines = text.split("\n")
        ranked += [
            (-change.likeness, turn, Place(change, lines))
            for turn, change in enumerate(repeated_edits(edit, lines, other, 0, earlier))
        ]
        time.sleep(YIELD_SECONDS)
    return Search([place for _, _, place in sorted(ranked, key=lambda one: one[:2])[:MAX_PLACES]], budget)
