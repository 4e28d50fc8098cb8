"""Next edits: the last edit repeated elsewhere, or the proposal of a next-edit model.

An edit is suggested if the model, reading old and new lines, finds the new lines probable enough.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from pellucid.completion.context.search_budget import FindFiles
from pellucid.completion.context.uris import same_document
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_gate import LEAST
from pellucid.completion.edits.edit_history import Edit, EditHistory
from pellucid.completion.edits.edit_judge import DISMISSED, ELSEWHERE, HERE, EditJudge
from pellucid.completion.edits.edit_memory import EditMemory, NextEdit
from pellucid.completion.edits.edits_explanation import EditOutcome, EditsExplanation
from pellucid.completion.edits.next_edit_models.edit_window import edit_window
from pellucid.completion.edits.places_elsewhere import find_elsewhere
from pellucid.completion.edits.repeated_edits import repeated_edits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import GateLevel
from pellucid.errors import PellucidError, UnavailableError
from pellucid.vocabulary.query import Priority, Terms

PROPOSAL_SECONDS = 1.5
"""Maximum delay of repeated edits by a next-edit model.

Without repeated edits, only a change ends the model's work.
"""

NO_EDIT = "Nothing was changed yet in this session."
NOT_SENT = "The last change was made in a document that is not sent to the model."
NOT_FOUND = "No place was found for the last change."
NOT_ALL_SEARCHED = "Only {} were searched for the last change: there was no time for more."
NOT_REPEATED = (
    "The last change, of line {} of {}, is repeated nowhere in this document, and no other model proposes one."
)


class NextEdits:
    """The next edits of an editor's documents.

    Cancelling ``suggest`` also cancels the reading in the model server.
    """

    def __init__(
        self,
        history: EditHistory,
        models: ModelChoice,
        memory: EditMemory | None = None,
        may_send: Callable[[str, str], bool] = lambda uri, text: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history = history
        self.memory = memory or EditMemory()
        self._models = models
        self._may_send = may_send
        self._clock = clock

    async def suggest(
        self, uri: str, text: str, level: GateLevel = GateLevel.NORMAL, cursor: tuple[int, int] | None = None
    ) -> list[NextEdit]:
        """Return a document's edits that are probable enough, from the last edit downwards.

        ``cursor`` is a line and a character, from 0; the default is the end of the last edit, if
        made in this document. Without repeated edits, no model server is started just for
        proposals.
        """
        self.memory.notes = []
        explanation = self.memory.explain(uri, LEAST[level], elsewhere=False)
        edits = self._last_edits(explanation)
        if not edits:
            return []
        edit = edits[-1]
        lines, is_here = text.split("\n"), same_document(edit.uri, uri)
        near = edit.first if is_here or cursor is None else cursor[0]
        # A large document may take 50 ms.
        repeated = await asyncio.to_thread(repeated_edits, edit, lines, uri, near, edits[:-1])
        changes = self._without_dismissed(repeated, explanation)
        if not is_here and cursor is not None:
            # The user's present place is always read.
            changes.sort(key=lambda one: one.first != near)
        shown: list[NextEdit] = []
        with explanation.ending(NOT_REPEATED.format(edit.first + 1, PurePosixPath(edit.uri).name)):
            if changes or self._models.provider.connected is not None:
                async with self._models.asked() as (client, card):
                    judge = EditJudge(client, card, _terms(uri), explanation, self.memory, self._clock)
                    shown = await judge.read(changes, {uri: lines}, edit, HERE)
                    await self._propose(judge, shown, uri, text, cursor or _end_of(edit, uri))
        return sorted(shown, key=lambda one: shown_rank(one.change.first, near))

    async def suggest_elsewhere(
        self, uri: str, find_files: FindFiles, level: GateLevel = GateLevel.NORMAL
    ) -> list[NextEdit]:
        """Return probable changes of other documents and files, from the likeliest file on.

        ``uri``: the document for ``suggest``. ``find_files`` runs on a separate thread.
        """
        explanation = self.memory.explain(uri, LEAST[level], elsewhere=True)
        edits = self._last_edits(explanation)
        if not edits:
            return []
        edit = edits[-1]
        search = await find_elsewhere(edit, uri, find_files, edits[:-1])
        nothing = NOT_FOUND
        if not search.budget.is_complete:
            nothing = NOT_ALL_SEARCHED.format(search.budget)
            self.memory.notes.append(nothing)
        changes = self._without_dismissed([place.change for place in search.places], explanation)
        texts = {place.change.uri: place.lines for place in search.places}
        shown: list[NextEdit] = []
        with explanation.ending(nothing):
            if changes:
                async with self._models.asked() as (client, card):
                    judge = EditJudge(client, card, _terms(uri), explanation, self.memory, self._clock)
                    shown = await judge.read(changes, texts, edit, ELSEWHERE)
        best: dict[str, float] = {}
        for one in shown:
            best[one.change.uri] = max(best.get(one.change.uri, 0.0), one.probability)
        return sorted(shown, key=lambda one: (-best[one.change.uri], one.change.uri, one.change.first))

    async def _propose(
        self, judge: EditJudge, shown: list[NextEdit], uri: str, text: str, cursor: tuple[int, int] | None
    ) -> None:
        """Add a next-edit model's proposals, which must not delay or prevent repeated edits."""
        proposer = self._models.proposer(judge.card)
        if proposer is None or cursor is None:
            return
        edits = [edit for edit in self.history.edits() if self._is_sendable(edit)]
        window = edit_window(uri, PurePosixPath(uri).name, text, edits, cursor)
        if window is None:
            return
        try:
            async with asyncio.timeout(PROPOSAL_SECONDS if shown else None):
                await judge.add_proposals(shown, proposer, window)
        except TimeoutError:
            pass
        except PellucidError as error:
            if isinstance(error, UnavailableError):
                if not shown:
                    raise
                self._models.provider.lost(judge.client)
            self.memory.notes.append(str(error))

    def _last_edits(self, explanation: EditsExplanation) -> list[Edit]:
        """Return the last edits, oldest first, or none and explain why.

        The last edit is sent, too, and the edited file may be ignored by now.
        """
        edits = self.history.edits()
        if edits and self._is_sendable(edits[-1]):
            return edits
        explanation.reason = NOT_SENT if edits else NO_EDIT
        return []

    def _is_sendable(self, edit: Edit) -> bool:
        return self._may_send(edit.uri, "\n".join((*edit.old, *edit.new)))

    def _without_dismissed(self, changes: Sequence[Candidate], explanation: EditsExplanation) -> list[Candidate]:
        left: list[Candidate] = []
        for change in changes:
            if self.memory.is_dismissed(change):
                explanation.skip(change, EditOutcome.DISMISSED, DISMISSED)
            else:
                left.append(change)
        return left


def shown_rank(line: int, near: int) -> tuple[bool, int]:
    """Return a sort key for lines as shown: from ``near`` downwards, then from the top."""
    return line < near, line


def _end_of(edit: Edit, uri: str) -> tuple[int, int] | None:
    """Return the end of an edit's last line; None if in a different document."""
    return (
        (max(edit.end - 1, edit.first), len(edit.new[-1]) if edit.new else 0) if same_document(edit.uri, uri) else None
    )


def _terms(uri: str) -> Terms:
    return Terms(Priority.BACKGROUND, key=f"lsp-{os.getpid()}:edits:{uri}")
