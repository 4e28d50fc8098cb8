"""Why a suggestion was shown, shortened or hidden: what was sent, what came, what each stage took, what the gate said."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pellucid.completion.settings import GateLevel, SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Prompt
from pellucid.completion.trust.features import CursorFeatures
from pellucid.completion.trust.threshold_gate import GateVerdict
from pellucid.tokens import Usage

KEPT = 100
"""Explanations that are remembered."""


class Decision(StrEnum):
    """What came of a request."""

    SHOWN = "shown"
    SHORTENED = "shortened"
    HIDDEN = "hidden"
    NOTHING = "nothing"
    CANCELLED = "cancelled"
    FAILED = "failed"
    OFF = "off"


class AnswerSource(StrEnum):
    """Where a suggestion comes from: generated now, what is left of an earlier one, or generated ahead."""

    MODEL = "model"
    RECENT = "recent"
    AHEAD = "ahead"


@dataclass
class Explanation:
    """The story of one request, written while it goes on. ``milliseconds`` are of each stage, in the order of their ends.

    ``at`` is what a log of suggestions needs to know of the place; None where none is kept.
    """

    uri: str
    outcome: Decision = Decision.CANCELLED
    reason: str = "The editor took the request back, or a newer one came."
    id: str | None = None
    source: AnswerSource | None = None
    shape: SuggestionShape | None = None
    ending: str | None = None
    answer: str | None = None
    shown: str | None = None
    prompt: Prompt | None = None
    model: str | None = None
    usage: Usage | None = None
    level: GateLevel | None = None
    verdict: GateVerdict | None = None
    at: CursorFeatures | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    position: tuple[int, int] = (0, 0)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._began = self._last = self.clock()

    def lap(self, stage: str, *, but: Mapping[str, float] | None = None) -> None:
        """The stage ends now; it began where the one before it ended. ``but`` are milliseconds in it that were other stages."""
        now = self.clock()
        for name, value in (but or {}).items():
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + value
        spent = (now - self._last) * 1000 - sum((but or {}).values())
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + max(spent, 0.0)
        self._last = now

    def end(self, outcome: Decision, reason: str) -> None:
        """Say what came of it."""
        self.outcome, self.reason = outcome, reason
        self.stop()

    @property
    def elapsed(self) -> float:
        """Milliseconds since it began."""
        return (self.clock() - self._began) * 1000

    def stop(self) -> None:
        """Note the time that all of it took."""
        self.milliseconds["total"] = self.elapsed


def new_explanation(cursor: DocumentCursor) -> Explanation:
    """The explanation of a request at a place, which nobody will ask for."""
    return Explanation(cursor.uri, position=cursor.position)


@dataclass
class Counts:
    """What became of suggestions since the start."""

    shown: int = 0
    accepted: int = 0
    hidden: int = 0
    typed: int = 0


class Explanations:
    """The last explanations: by the id of their suggestion, by document, and the very last."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Explanation] = OrderedDict()
        self._by_uri: dict[str, Explanation] = {}
        self._last: Explanation | None = None

    def begin(self, cursor: DocumentCursor) -> Explanation:
        """A new one, for a request at this place."""
        self._last = self._by_uri[cursor.uri] = new_explanation(cursor)
        return self._last

    def name(self, explanation: Explanation, id: str) -> None:
        """Its suggestion's id is known now."""
        explanation.id = id
        self._by_id[id] = explanation
        if len(self._by_id) > KEPT:
            self._by_id.popitem(last=False)

    def find(self, *, id: str | None = None, uri: str | None = None) -> Explanation | None:
        """The one of a suggestion, the last one of a document, or the last one of all."""
        if id is not None:
            return self._by_id.get(id)
        return self._last if uri is None else self._by_uri.get(uri)

    def forget(self, uri: str) -> None:
        """The document was closed."""
        self._by_uri.pop(uri, None)


@dataclass
class Journal:
    """What is known of an editor's suggestions since the start, whatever its settings were meanwhile.

    ``latency`` are the milliseconds that the last suggestion of the model's took, ``model`` is what was completed with last.
    """

    explanations: Explanations = field(default_factory=Explanations)
    counts: Counts = field(default_factory=Counts)
    latency: float | None = None
    model: str = ""
