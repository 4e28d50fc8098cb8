"""Log of the user's reactions to suggestions, if switched on."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from math import exp

from pellucid.completion.explanation import Decision as Shown
from pellucid.completion.explanation import Explanation
from pellucid.completion.suggestion import Suggestion, truncate
from pellucid.completion.trust.features import features
from pellucid.completion.trust.suggestion_log import LogEntry, Reaction, SuggestionLog
from pellucid.errors import ConfigError

log = logging.getLogger(__name__)


class ReactionLog:
    """The reactions of an editor's user. Logging ends after the first disk error.

    ``find_file`` is called before the first entry.
    """

    def __init__(self, find_file: Callable[[], SuggestionLog]) -> None:
        self._find_file = find_file
        self._file: SuggestionLog | None = None
        self._session = uuid.uuid4().hex  # Suggestion ids are unique only within a process
        self.failure: str | None = None

    def note(self, suggestion: Suggestion, explanation: Explanation | None, accepted: int) -> None:
        """Log the acceptance of the first ``accepted`` characters; 0 means dismissal."""
        if self.failure is not None or explanation is None or explanation.at is None:
            return
        try:
            self._file = self._file or self._find_file()
            self._file.write(_entry(f"{self._session}-{suggestion.id}", suggestion, explanation, accepted))
        except ConfigError as error:
            self.failure = str(error)
            log.warning("%s No more suggestions are logged until the next start.", error)


def _entry(id: str, suggestion: Suggestion, explanation: Explanation, accepted: int) -> LogEntry:
    at, ending = explanation.at, explanation.ending or ""
    assert at is not None, "checked by the caller"
    suggestion = suggestion.sure  # The doubtful rest gets its own entry, if it becomes sure
    length, whole = len(suggestion.text), explanation.outcome is Shown.SHOWN
    outcome = Reaction.DISMISSED if not accepted else Reaction.ACCEPTED if accepted >= length else Reaction.SHORTENED
    part = truncate(suggestion.tokens, accepted) if outcome is Reaction.SHORTENED else ()
    return LogEntry(
        id=id,
        model=suggestion.model,
        language=suggestion.cursor.language,
        level=explanation.level,
        gate="" if explanation.verdict is None else explanation.verdict.by,
        outcome=outcome,
        length=length,
        accepted=min(accepted, length),
        features=features(suggestion.tokens, at, ending, whole=whole),
        accepted_features=features(part, at, ending, whole=False) if any(token.text for token in part) else None,
        probabilities=tuple(
            exp(logprob) for token in suggestion.tokens if (logprob := token.constrained_logprob) is not None
        ),
    )
