"""The record of an editor's reactions to suggestions: shown, accepted, dismissed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.completion.explanation import Journal
from pellucid.completion.reaction_log import ReactionLog
from pellucid.completion.suggestion import Suggestion
from pellucid.completion.suggestion_memory import SuggestionMemory
from pellucid.completion.trust.session_adjustment import SessionAdjustment
from pellucid_lsp.model_server.outcome_reports import OutcomeReports


@dataclass(frozen=True, slots=True)
class ReactionRecord:
    """``outcomes`` are numbers for the model server; ``log`` is None if switched off."""

    suggestions: SuggestionMemory
    journal: Journal
    adjustment: SessionAdjustment
    outcomes: OutcomeReports
    log: ReactionLog | None

    def note_shown(self, suggestions: Sequence[Suggestion]) -> None:
        """Count the first suggestion as shown, unless already counted, and track the reaction."""
        for suggestion in suggestions[:1]:
            if self.suggestions.note_shown(suggestion):
                self.journal.counts.shown += 1
                self.outcomes.note(suggestion.model, shown=1)
            explanation = self.journal.explanations.find(id=suggestion.id)
            verdict = None if explanation is None else explanation.verdict
            if verdict is not None and verdict.length and verdict.probability is not None:
                self.adjustment.note_shown(suggestion.cursor, suggestion.text[: verdict.length], verdict.probability)

    def accept(self, suggestion: Suggestion, length: int) -> None:
        """Record the acceptance of the first ``length`` characters."""
        if self.suggestions.accept(suggestion, length):
            self.journal.counts.accepted += 1
            self.outcomes.note(suggestion.model, accepted=1)
        self._log_reaction(suggestion, length)

    def dismiss(self, suggestion: Suggestion) -> None:
        self.suggestions.dismiss(suggestion)
        self._log_reaction(suggestion, 0)

    def _log_reaction(self, suggestion: Suggestion, accepted: int) -> None:
        if self.log is not None:
            self.log.note(suggestion, self.journal.explanations.find(id=suggestion.id), accepted)
