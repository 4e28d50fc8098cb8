"""Suggests the next edit: repeats the last one elsewhere where the model, reading both, finds the new lines probable enough."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import PurePosixPath

from pellucid.completion.edits.edit_gate import LEAST, gate_of
from pellucid.completion.edits.edit_history import Edit, EditHistory
from pellucid.completion.edits.reading import log_odds
from pellucid.completion.edits.repeated_edits import Candidate, repeated_edits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import ModelProvider
from pellucid.completion.settings import GateLevel
from pellucid.errors import InvalidRequestError, UnavailableError
from pellucid.tokens import Extra, Priority, Terms

READ = 6
"""Places that are read for one request, the likeliest ones."""

BUDGET_SECONDS = 1.5
"""No further place is read after this time."""

KEPT = 64
"""Edits whose ids are remembered, and edits that are not offered again."""

NUMBERS = count(1)
"""Numbers for the ids of edits."""


@dataclass(frozen=True, slots=True)
class NextEdit:
    """An edit that is suggested: a change of lines, log p(new) - log p(old), and how probably it is right."""

    id: str
    change: Candidate
    log_odds: float
    probability: float


class NextEdits:
    """The next edits of one editor's documents. Cancelling ``suggest`` also cancels the reading in the model server."""

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
        self.gate_note: str | None = None
        """Why the last request was not judged by a calibration of its own model, one sentence."""
        self._provider = provider
        self._models = models
        self._model = model
        self._is_harmless = is_harmless
        self._clock = clock
        self._suggested: OrderedDict[str, NextEdit] = OrderedDict()
        self._refused: OrderedDict[tuple[str, tuple[str, ...], tuple[str, ...]], None] = OrderedDict()

    async def suggest(self, uri: str, text: str, level: GateLevel = GateLevel.NORMAL) -> list[NextEdit]:
        """Return the edits of a document that are probable enough for a level, from the last edit on downwards.

        Raise a PellucidError if the model cannot be asked.
        """
        self.gate_note = None
        edits = self.history.edits()
        if not edits or not self._is_harmless(edits[-1].uri, "\n".join((*edits[-1].old, *edits[-1].new))):
            return []  # another document's edit is sent, too, and its file may be ignored by now
        edit, lines = edits[-1], text.split("\n")
        proposals = await asyncio.to_thread(repeated_edits, edit, lines, uri)  # a large document may take 50 ms
        found = [one for one in proposals if (uri, one.old, one.new) not in self._refused]
        if not found:
            return []
        provider = self._provider()
        client = await provider.client()
        try:
            card = await self._models.find(client, self._model())
            gate, self.gate_note = gate_of(card)
            shown, begun = [], self._clock()
            for change in found[:READ]:
                if self._clock() - begun > BUDGET_SECONDS:
                    break
                try:
                    odds = await log_odds(client, change, lines, card.name, as_diff(edit) if card.files else (), _terms(uri))
                except InvalidRequestError:  # it is too long for the model, for example
                    continue
                sure = gate.probability(odds)
                if sure >= LEAST[level]:
                    shown.append(self._remembered(NextEdit(f"edit-{next(NUMBERS)}", change, odds, sure)))
        except UnavailableError:
            provider.lost(client)
            raise
        return sorted(shown, key=lambda one: shown_rank(one.change.first, edit.first))

    def find(self, id: str) -> NextEdit | None:
        """Return the edit with this id, or None if it is not known any more."""
        return self._suggested.get(id)

    def dismiss(self, edit: NextEdit) -> None:
        """Do not suggest an edit again."""
        self._refused[(edit.change.uri, edit.change.old, edit.change.new)] = None
        if len(self._refused) > KEPT:
            self._refused.popitem(last=False)

    def _remembered(self, edit: NextEdit) -> NextEdit:
        self._suggested[edit.id] = edit
        if len(self._suggested) > KEPT:
            self._suggested.popitem(last=False)
        return edit


def shown_rank(line: int, edited: int) -> tuple[bool, int]:
    """Return a key that sorts suggestions by their lines as editors show them: from the edit on downwards, then from the top."""
    return line < edited, line


def as_diff(edit: Edit) -> Sequence[Extra]:
    """Return an edit as the model reads it, in the form in which Sweep's models were trained to."""
    name = PurePosixPath(edit.uri).name
    return [Extra(f"{name}.diff", "\n".join(["original:", *edit.old, "updated:", *edit.new, ""]))]


def _terms(uri: str) -> Terms:
    return Terms(Priority.BACKGROUND, key=f"lsp-{os.getpid()}:edits:{uri}")
