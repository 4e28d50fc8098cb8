"""Recent next edits: suggested, dismissed, and explained."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import count

from pellucid.completion.context import uris
from pellucid.completion.context.uris import Address
from pellucid.completion.cursor_keys import put
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edits_explanation import EditsExplanation

KEPT = 64
"""Number of remembered edit ids, and of dismissed edits."""

NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class NextEdit:
    """A suggested change of lines, log p(new) - log p(old), and P(right)."""

    id: str
    change: Candidate
    log_odds: float
    probability: float


class EditMemory:
    """The next edits of an editor, kept when the settings change.

    ``notes``: sentences on missing calibrations and missing proposals, for the last request in a
    document and the following search in other files.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._explanations: OrderedDict[tuple[str, bool], EditsExplanation] = OrderedDict()
        self._suggested: OrderedDict[str, NextEdit] = OrderedDict()
        self._dismissed: OrderedDict[tuple[Address, tuple[str, ...], tuple[str, ...]], None] = OrderedDict()

    @property
    def note(self) -> str | None:
        return " ".join(dict.fromkeys(self.notes)) or None

    def explain(self, uri: str, least: float, *, elsewhere: bool) -> EditsExplanation:
        """Return a new explanation, which replaces the document's last explanation."""
        self._explanations.pop((uri, True), None)
        self._explanations.pop((uri, elsewhere), None)
        explanation = EditsExplanation(least)
        put(self._explanations, (uri, elsewhere), explanation, 2 * KEPT)
        return explanation

    def explanation(self, uri: str, *, elsewhere: bool = False) -> EditsExplanation | None:
        """Return why the last request's edits were suggested or not, if there was a request.

        ``elsewhere``: the edits of other files, if requested after the document's.
        """
        return self._explanations.get((uri, elsewhere))

    def suggest(self, change: Candidate, log_odds: float, probability: float) -> NextEdit:
        edit = NextEdit(f"edit-{next(NUMBERS)}", change, log_odds, probability)
        put(self._suggested, edit.id, edit, KEPT)
        return edit

    def find(self, id: str) -> NextEdit | None:
        return self._suggested.get(id)

    def dismiss(self, edit: NextEdit) -> None:
        put(self._dismissed, _identity(edit.change), None, KEPT)

    def is_dismissed(self, change: Candidate) -> bool:
        return _identity(change) in self._dismissed


def _identity(change: Candidate) -> tuple[Address, tuple[str, ...], tuple[str, ...]]:
    """Return a key that is equal for equal changes, with any form of the URI."""
    return uris.read(change.uri), change.old, change.new
