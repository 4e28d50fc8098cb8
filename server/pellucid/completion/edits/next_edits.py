"""Next edits: the last edit repeated elsewhere, or the proposal of a next-edit model.

An edit is suggested if the model, reading old and new lines, finds the new lines probable enough.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from pathlib import PurePosixPath

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.context import uris
from pellucid.completion.context.search_budget import FindFiles
from pellucid.completion.context.uris import Address, same_document
from pellucid.completion.edits.edit_gate import LEAST, default_gate, gate_of
from pellucid.completion.edits.edit_history import Edit, EditHistory
from pellucid.completion.edits.edits_explanation import EditOutcome, EditsExplanation
from pellucid.completion.edits.next_edit_models import sweep
from pellucid.completion.edits.next_edit_models.edit_window import edit_window
from pellucid.completion.edits.next_edit_models.proposals import propose
from pellucid.completion.edits.places_elsewhere import find_elsewhere
from pellucid.completion.edits.reading import log_odds
from pellucid.completion.edits.repeated_edits import Candidate, repeated_edits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import ModelProvider
from pellucid.completion.settings import GateLevel
from pellucid.errors import InvalidRequestError, PellucidError, UnavailableError
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Extra, Priority, Terms

READ = 6
"""Number of places read for a request, likeliest first."""

BUDGET_SECONDS = 1.5
"""No further place is read after this time, once an edit is suggested.

Before the first suggestion, only a change ends the reading, because a machine may be busy.
"""

PROPOSAL_SECONDS = 1.5
"""Maximum delay of repeated edits by a next-edit model.

Without repeated edits, only a change ends the model's work.
"""

KEPT = 64
"""Number of remembered edit ids, and of dismissed edits."""

NOT_CALIBRATED = "The proposals of {} have no calibration yet, so the default model's for repeated edits decides."
"""Reported for proposals of a next-edit model."""

NO_EDIT = "Nothing was changed yet in this session."
NOT_SENT = "The last change was made in a document that is not sent to the model."
NOT_FOUND = "No place was found for the last change."
NOT_ALL_SEARCHED = "Only {} were searched for the last change: there was no time for more."
NOT_REPEATED = (
    "The last change, of line {} of {}, is repeated nowhere in this document, and no other model proposes one."
)
DISMISSED = "You have dismissed it."
TOO_MANY = "At most {} places are read for one request."
TOO_LATE = "The {} seconds for reading were over."

NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum places read for a request, and seconds of reading once an edit is suggested."""

    places: int
    seconds: float


HERE = Limits(READ, BUDGET_SECONDS)
ELSEWHERE = Limits(16, 4.0)


@dataclass(frozen=True, slots=True)
class NextEdit:
    """A suggested change of lines, log p(new) - log p(old), and P(right)."""

    id: str
    change: Candidate
    log_odds: float
    probability: float


class NextEdits:
    """The next edits of an editor's documents.

    Cancelling ``suggest`` also cancels the reading in the model server.
    """

    def __init__(
        self,
        history: EditHistory,
        provider: Callable[[], ModelProvider],
        models: ModelChoice,
        model: Callable[[], str] = lambda: "",
        is_harmless: Callable[[str, str], bool] = lambda uri, text: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = history
        self._notes: list[str] = []
        self._provider = provider
        self._models = models
        self._model = model
        self._is_harmless = is_harmless
        self._clock = clock
        self._explanations: OrderedDict[tuple[str, bool], EditsExplanation] = OrderedDict()
        self._suggested: OrderedDict[str, NextEdit] = OrderedDict()
        self._refused: OrderedDict[tuple[Address, tuple[str, ...], tuple[str, ...]], None] = OrderedDict()

    @property
    def note(self) -> str | None:
        """Sentences on missing calibrations and missing proposals, for the last request.

        The last request in a document and the following search in other files count.
        """
        return " ".join(dict.fromkeys(self._notes)) or None

    def explanation(self, uri: str, *, elsewhere: bool = False) -> EditsExplanation | None:
        """Return why the last request's edits were suggested or not, if there was a request.

        ``elsewhere``: the edits of other files, if requested after the document's.
        """
        return self._explanations.get((uri, elsewhere))

    async def suggest(
        self, uri: str, text: str, level: GateLevel = GateLevel.NORMAL, cursor: tuple[int, int] | None = None
    ) -> list[NextEdit]:
        """Return a document's edits that are probable enough, from the last edit downwards.

        ``cursor`` is a line and a character, from 0; the default is the end of the last edit, if
        made in this document. Without repeated edits, no model server is started just for
        proposals. Raise PellucidError if the model cannot be asked.
        """
        self._notes = []
        explanation = self._explained(uri, level)
        edits = self.history.edits()
        if not edits or not self._may_send(edits[-1]):
            # The last edit is sent, too, and the edited file may be ignored by now.
            explanation.end(NOT_SENT if edits else NO_EDIT)
            return []
        edit, lines = edits[-1], text.split("\n")
        nothing = NOT_REPEATED.format(edit.first + 1, PurePosixPath(edit.uri).name)
        is_here = same_document(edit.uri, uri)
        near = edit.first if is_here or cursor is None else cursor[0]
        # A large document may take 50 ms.
        repeated = await asyncio.to_thread(repeated_edits, edit, lines, uri, near)
        changes = self._without_dismissed(repeated, explanation)
        if not is_here and cursor is not None:
            # The user's present place is always read.
            changes.sort(key=lambda one: one.first != near)
        provider = self._provider()
        client = await provider.client() if changes else provider.connected
        if client is None:
            explanation.end(nothing)
            return []
        try:
            card = await self._models.find(client, self._model())
            shown = await self._read(client, card, changes, {uri: lines}, edit, explanation, HERE, _terms(uri))
            proposer, at = self._models.proposer(card), cursor or _end_of(edit, uri)
            if proposer is not None and at is not None:
                try:
                    async with asyncio.timeout(PROPOSAL_SECONDS if shown else None):
                        await self._add_proposals(shown, client, proposer, uri, text, at, explanation)
                except TimeoutError:
                    pass
                except PellucidError as error:
                    if isinstance(error, UnavailableError):
                        if not shown:
                            raise
                        provider.lost(client)
                    self._notes.append(str(error))
        except PellucidError as error:
            explanation.reason = str(error)
            if isinstance(error, UnavailableError):
                provider.lost(client)
            raise
        explanation.end(nothing)
        return sorted(shown, key=lambda one: shown_rank(one.change.first, near))

    async def suggest_elsewhere(
        self, uri: str, find_files: FindFiles, level: GateLevel = GateLevel.NORMAL
    ) -> list[NextEdit]:
        """Return probable changes of other documents and files, from the likeliest file on.

        ``uri``: the document for ``suggest``. ``find_files`` runs on a separate thread. Raise
        PellucidError if the model cannot be asked.
        """
        explanation = self._explained(uri, level, elsewhere=True)
        edits = self.history.edits()
        if not edits or not self._may_send(edits[-1]):
            explanation.end(NOT_SENT if edits else NO_EDIT)
            return []
        edit = edits[-1]
        search = await find_elsewhere(edit, uri, find_files)
        nothing = NOT_FOUND
        if not search.budget.is_complete:
            nothing = NOT_ALL_SEARCHED.format(search.budget)
            self._notes.append(nothing)
        changes = self._without_dismissed([place.change for place in search.places], explanation)
        if not changes:
            explanation.end(nothing)
            return []
        provider, client = self._provider(), None
        try:
            client = await provider.client()
            card = await self._models.find(client, self._model())
            texts = {place.change.uri: place.lines for place in search.places}
            shown = await self._read(client, card, changes, texts, edit, explanation, ELSEWHERE, _terms(uri))
        except PellucidError as error:
            explanation.reason = str(error)
            if isinstance(error, UnavailableError) and client is not None:
                provider.lost(client)
            raise
        explanation.end(nothing)
        best: dict[str, float] = {}
        for one in shown:
            best[one.change.uri] = max(best.get(one.change.uri, 0.0), one.probability)
        return sorted(shown, key=lambda one: (-best[one.change.uri], one.change.uri, one.change.first))

    async def _read(
        self,
        client: Assistant,
        card: ModelCard,
        changes: Sequence[Candidate],
        texts: Mapping[str, Sequence[str]],
        edit: Edit,
        explanation: EditsExplanation,
        limits: Limits,
        terms: Terms,
    ) -> list[NextEdit]:
        """Return the repeated changes that are probable enough.

        ``texts``: the lines of the changes' documents.
        """
        if not changes:
            return []
        gate, note = gate_of(card)
        self._notes += [] if note is None else [note]
        shown: list[NextEdit] = []
        begun = self._clock()
        for number, change in enumerate(changes):
            if number >= limits.places or (shown and self._clock() - begun > limits.seconds):
                reason = TOO_MANY.format(limits.places) if number >= limits.places else TOO_LATE.format(limits.seconds)
                explanation.skip(change, EditOutcome.UNREAD, reason)
                continue
            lines = texts[change.uri]
            try:
                odds = await log_odds(client, change, lines, card.name, as_diff(edit) if card.files else (), terms)
            except InvalidRequestError as error:  # The edit may be too long for the model
                explanation.skip(change, EditOutcome.UNREAD, str(error))
                continue
            sure = gate.probability(odds)
            if explanation.judge(change, odds, sure):
                shown.append(self._remembered(NextEdit(f"edit-{next(NUMBERS)}", change, odds, sure)))
        return shown

    async def _add_proposals(
        self,
        shown: list[NextEdit],
        client: Assistant,
        card: ModelCard,
        uri: str,
        text: str,
        cursor: tuple[int, int],
        explanation: EditsExplanation,
    ) -> None:
        """Add the next-edit model's changes up to the first change that is not probable enough."""
        edits = [edit for edit in self.history.edits() if self._may_send(edit)]
        window = edit_window(uri, PurePosixPath(uri).name, text, edits, cursor)
        if window is None:
            return
        repeated = [one.change for one in shown]
        async with aclosing(propose(client, card, window, _terms(uri))) as proposals:
            async for change, odds in proposals:
                if any((change.first, change.old, change.new) == (one.first, one.old, one.new) for one in repeated):
                    continue
                self._notes.append(NOT_CALIBRATED.format(card.name))
                sure = default_gate().probability(odds)
                if not self._is_new(change):
                    explanation.skip(change, EditOutcome.DISMISSED, DISMISSED)
                    return
                if any(change.overlaps(one) for one in repeated) or not explanation.judge(change, odds, sure):
                    return  # Later changes are read as if this change were made
                shown.append(self._remembered(NextEdit(f"edit-{next(NUMBERS)}", change, odds, sure)))

    def _explained(self, uri: str, level: GateLevel, *, elsewhere: bool = False) -> EditsExplanation:
        """Return a new explanation, which replaces the document's last explanation."""
        self._explanations.pop((uri, True), None)
        self._explanations.pop((uri, elsewhere), None)
        if len(self._explanations) >= 2 * KEPT:
            self._explanations.popitem(last=False)
        explanation = self._explanations[uri, elsewhere] = EditsExplanation(LEAST[level])
        return explanation

    def _may_send(self, edit: Edit) -> bool:
        return self._is_harmless(edit.uri, "\n".join((*edit.old, *edit.new)))

    def _without_dismissed(self, changes: Sequence[Candidate], explanation: EditsExplanation) -> list[Candidate]:
        """Return the changes that were not dismissed, and explain the dismissed changes."""
        for change in changes:
            if not self._is_new(change):
                explanation.skip(change, EditOutcome.DISMISSED, DISMISSED)
        return list(filter(self._is_new, changes))

    def _is_new(self, change: Candidate) -> bool:
        return _identity(change) not in self._refused

    def find(self, id: str) -> NextEdit | None:
        """Return the edit with this id, or None if forgotten."""
        return self._suggested.get(id)

    def dismiss(self, edit: NextEdit) -> None:
        """Do not suggest an edit again."""
        self._refused[_identity(edit.change)] = None
        if len(self._refused) > KEPT:
            self._refused.popitem(last=False)

    def _remembered(self, edit: NextEdit) -> NextEdit:
        self._suggested[edit.id] = edit
        if len(self._suggested) > KEPT:
            self._suggested.popitem(last=False)
        return edit


def _identity(change: Candidate) -> tuple[Address, tuple[str, ...], tuple[str, ...]]:
    """Return a key that is equal for equal changes, with any form of the URI."""
    return uris.read(change.uri), change.old, change.new


def shown_rank(line: int, near: int) -> tuple[bool, int]:
    """Return a sort key for lines as shown: from ``near`` downwards, then from the top."""
    return line < near, line


def _end_of(edit: Edit, uri: str) -> tuple[int, int] | None:
    """Return the end of an edit's last line; None if in a different document."""
    return (
        (max(edit.end - 1, edit.first), len(edit.new[-1]) if edit.new else 0) if same_document(edit.uri, uri) else None
    )


def as_diff(edit: Edit) -> Sequence[Extra]:
    """Return an edit in the diff form of Sweep's training."""
    return [Extra(f"{PurePosixPath(edit.uri).name}.diff", sweep.diff(edit))]


def _terms(uri: str) -> Terms:
    return Terms(Priority.BACKGROUND, key=f"lsp-{os.getpid()}:edits:{uri}")
