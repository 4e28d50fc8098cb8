"""Judgement of next edits: a model reads old and new lines, and a gate decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePosixPath

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_gate import default_gate, gate_of
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.edit_memory import EditMemory, NextEdit
from pellucid.completion.edits.edits_explanation import EditOutcome, EditsExplanation
from pellucid.completion.edits.next_edit_models import sweep
from pellucid.completion.edits.next_edit_models.edit_window import EditWindow
from pellucid.completion.edits.next_edit_models.proposals import propose
from pellucid.completion.edits.reading import log_odds
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Extra, Terms

READ = 6
"""Number of places read for a request, likeliest first."""

BUDGET_SECONDS = 1.5
"""No further place is read after this time, once an edit is suggested.

Before the first suggestion, only a change ends the reading, because a machine may be busy.
"""

NOT_CALIBRATED = "The proposals of {} have no calibration yet, so the default model's for repeated edits decides."
"""Reported for proposals of a next-edit model."""

DISMISSED = "You have dismissed it."
TOO_MANY = "At most {} places are read for one request."
TOO_LATE = "The {} seconds for reading were over."


@dataclass(frozen=True, slots=True)
class Limits:
    """Maximum places read for a request, and seconds of reading once an edit is suggested."""

    places: int
    seconds: float


HERE = Limits(READ, BUDGET_SECONDS)
ELSEWHERE = Limits(16, 4.0)


@dataclass(frozen=True)
class EditJudge:
    """The judge of one request. Edits that are probable enough are remembered."""

    client: Assistant
    card: ModelCard
    terms: Terms
    explanation: EditsExplanation
    memory: EditMemory
    clock: Callable[[], float]

    async def read(
        self, changes: Sequence[Candidate], texts: Mapping[str, Sequence[str]], edit: Edit, limits: Limits
    ) -> list[NextEdit]:
        """Return the repetitions of an edit that are probable enough.

        ``texts``: the lines of the changes' documents.
        """
        if not changes:
            return []
        gate, note = gate_of(self.card)
        self.memory.notes += [] if note is None else [note]
        extra = as_diff(edit) if self.card.files else ()
        shown: list[NextEdit] = []
        begun = self.clock()
        for number, change in enumerate(changes):
            if number >= limits.places or (shown and self.clock() - begun > limits.seconds):
                reason = TOO_MANY.format(limits.places) if number >= limits.places else TOO_LATE.format(limits.seconds)
                self.explanation.skip(change, EditOutcome.UNREAD, reason)
                continue
            try:
                odds = await log_odds(self.client, change, texts[change.uri], self.card.name, extra, self.terms)
            except InvalidRequestError as error:  # The edit may be too long for the model
                self.explanation.skip(change, EditOutcome.UNREAD, str(error))
                continue
            sure = gate.probability(odds + change.nats)
            if self.explanation.judge(change, odds, sure):
                shown.append(self.memory.suggest(change, odds, sure))
        return shown

    async def add_proposals(self, shown: list[NextEdit], proposer: ModelCard, window: EditWindow) -> None:
        """Add the next-edit model's changes up to the first change that is not probable enough."""
        repeated = [one.change for one in shown]
        async with aclosing(propose(self.client, proposer, window, self.terms)) as proposals:
            async for change, odds in proposals:
                if any((change.first, change.old, change.new) == (one.first, one.old, one.new) for one in repeated):
                    continue
                self.memory.notes.append(NOT_CALIBRATED.format(proposer.name))
                sure = default_gate().probability(odds + change.nats)
                if self.memory.is_dismissed(change):
                    self.explanation.skip(change, EditOutcome.DISMISSED, DISMISSED)
                    return
                if any(change.overlaps(one) for one in repeated) or not self.explanation.judge(change, odds, sure):
                    return  # Later changes are read as if this change were made
                shown.append(self.memory.suggest(change, odds, sure))


def as_diff(edit: Edit) -> Sequence[Extra]:
    """Return an edit in the diff form of Sweep's training."""
    return [Extra(f"{PurePosixPath(edit.uri).name}.diff", sweep.diff(edit))]
