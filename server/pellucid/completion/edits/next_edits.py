"""Suggests the next edit: repeats the last one elsewhere, or takes the proposal of a model that was trained to make them.

Either is suggested where the model, reading both, finds the new lines probable enough.
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
from pellucid.tokens import Extra, ModelCard, Priority, Terms

READ = 6
"""Places that are read for one request, the likeliest ones."""

BUDGET_SECONDS = 1.5
"""No further place is read after this time if one is suggested.
If none is yet, only a change ends the reading: a machine may be busy.
"""

PROPOSAL_SECONDS = 1.5
"""Repeated edits that are found are delayed no longer than this by a next-edit model.
If none is found, only a change ends its work.
"""

KEPT = 64
"""Edits whose ids are remembered, and edits that are not offered again."""

NOT_CALIBRATED = "The proposals of {} have no calibration yet, so the default model's for repeated edits decides."
"""Reported of proposals by a model that was trained to make them."""

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
"""Numbers for the ids of edits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most places that are read for one request, and the seconds after which no further one is, once one is suggested."""

    places: int
    seconds: float


HERE = Limits(READ, BUDGET_SECONDS)
ELSEWHERE = Limits(16, 4.0)


@dataclass(frozen=True, slots=True)
class NextEdit:
    """An edit that is suggested: a change of lines, log p(new) - log p(old), and how probably it is right."""

    id: str
    change: Candidate
    log_odds: float
    probability: float


class NextEdits:
    """The next edits of one editor's documents.

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
        """Why a request was not judged by a calibration of its own model, and why a model proposed nothing, in sentences.

        Of the last request in a document, and of the search in other files after it.
        """
        return " ".join(dict.fromkeys(self._notes)) or None

    def explanation(self, uri: str, *, elsewhere: bool = False) -> EditsExplanation | None:
        """Return why the edits of the last request in a document were suggested or not; None if there was no request.

        ``elsewhere``: those of other files, if they were requested after those of the document.
        """
        return self._explanations.get((uri, elsewhere))

    async def suggest(
        self, uri: str, text: str, level: GateLevel = GateLevel.NORMAL, cursor: tuple[int, int] | None = None
    ) -> list[NextEdit]:
        """Return the edits of a document that are probable enough for a level, from the last edit on downwards.

        ``cursor`` is a line and a character, from 0; by default it is at the end of the last edit,
        if that was made in this document. If nothing is repeated, no model server is started to
        propose something else. Raise a PellucidError if the model cannot be asked.
        """
        self._notes = []
        explanation = self._explained(uri, level)
        edits = self.history.edits()
        if not edits or not self._may_send(edits[-1]):
            explanation.end(NOT_SENT if edits else NO_EDIT)
            return []  # another document's edit is sent, too, and its file may be ignored by now
        edit, lines = edits[-1], text.split("\n")
        nothing = NOT_REPEATED.format(edit.first + 1, PurePosixPath(edit.uri).name)
        is_here = same_document(edit.uri, uri)
        near = edit.first if is_here or cursor is None else cursor[0]
        repeated = await asyncio.to_thread(repeated_edits, edit, lines, uri, near)  # a large document may take 50 ms
        changes = self._without_dismissed(repeated, explanation)
        if not is_here and cursor is not None:
            changes.sort(key=lambda one: one.first != near)  # the place that the user has gone to is always read
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
        """Return the changes of other documents and files that are probable enough for a level, those of the likeliest file first.

        ``uri`` is the document whose own changes ``suggest`` returns. ``find_files`` runs on
        another thread. Raise a PellucidError if the model cannot be asked.
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
        """Return the changes, which repeat an edit, that are probable enough.

        ``texts`` has the lines of their documents.
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
            except InvalidRequestError as error:  # it is too long for the model, for example
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
        """Add the changes that a next-edit model proposes to those that are shown, up to the first one that is not probable enough."""
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
                    return  # the later ones are read as if this one were made
                shown.append(self._remembered(NextEdit(f"edit-{next(NUMBERS)}", change, odds, sure)))

    def _explained(self, uri: str, level: GateLevel, *, elsewhere: bool = False) -> EditsExplanation:
        """Return a new explanation, which replaces that of the document's last request."""
        self._explanations.pop((uri, True), None)
        self._explanations.pop((uri, elsewhere), None)
        if len(self._explanations) >= 2 * KEPT:
            self._explanations.popitem(last=False)
        explanation = self._explanations[uri, elsewhere] = EditsExplanation(LEAST[level])
        return explanation

    def _may_send(self, edit: Edit) -> bool:
        return self._is_harmless(edit.uri, "\n".join((*edit.old, *edit.new)))

    def _without_dismissed(self, changes: Sequence[Candidate], explanation: EditsExplanation) -> list[Candidate]:
        """Return the changes that the user has not dismissed. The explanation gets the others."""
        for change in changes:
            if not self._is_new(change):
                explanation.skip(change, EditOutcome.DISMISSED, DISMISSED)
        return list(filter(self._is_new, changes))

    def _is_new(self, change: Candidate) -> bool:
        """Return whether a change was not dismissed."""
        return _identity(change) not in self._refused

    def find(self, id: str) -> NextEdit | None:
        """Return the edit with this id, or None if it is not known any more."""
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
    """Return what makes two changes the same, whichever way their URIs are written."""
    return uris.read(change.uri), change.old, change.new


def shown_rank(line: int, near: int) -> tuple[bool, int]:
    """Return a key that sorts suggestions by their lines as editors show them: from a line on downwards, then from the top."""
    return line < near, line


def _end_of(edit: Edit, uri: str) -> tuple[int, int] | None:
    """Return the end of the last line of an edit; None if it is in another document."""
    return (
        (max(edit.end - 1, edit.first), len(edit.new[-1]) if edit.new else 0) if same_document(edit.uri, uri) else None
    )


def as_diff(edit: Edit) -> Sequence[Extra]:
    """Return an edit as the model reads it, in the form in which Sweep's models were trained to."""
    return [Extra(f"{PurePosixPath(edit.uri).name}.diff", sweep.diff(edit))]


def _terms(uri: str) -> Terms:
    return Terms(Priority.BACKGROUND, key=f"lsp-{os.getpid()}:edits:{uri}")
