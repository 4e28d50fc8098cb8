"""Records of requests: the prompt, the answer, the times, and the gate's verdict."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import GateLevel, SuggestionShape
from pellucid.completion.suggestion import Prompt
from pellucid.completion.trust.features import CursorFeatures
from pellucid.completion.trust.threshold_gate import GateVerdict
from pellucid.vocabulary.finish import Usage

MAX_EXPLANATIONS = 100


class Decision(StrEnum):
    SHOWN = "shown"
    SHORTENED = "shortened"
    HIDDEN = "hidden"
    NOTHING = "nothing"
    CANCELLED = "cancelled"
    FAILED = "failed"
    OFF = "off"


class AnswerSource(StrEnum):
    MODEL = "model"
    RECENT = "recent"
    PREFETCH = "ahead"


@dataclass
class Explanation:
    """The record of a request, written while the request runs.

    ``milliseconds``: per stage, in the order of the stages' ends. ``doubtful``: the length of the
    doubtful rest of ``shown``. ``at``: for the suggestion log; None if the log is off.
    """

    uri: str
    outcome: Decision = Decision.CANCELLED
    reason: str = "The editor cancelled the request, or a newer one replaced it."
    id: str | None = None
    source: AnswerSource | None = None
    shape: SuggestionShape | None = None
    ending: str | None = None
    answer: str | None = None
    shown: str | None = None
    doubtful: int = 0
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

    def lap(self, stage: str, *, other_stages: Mapping[str, float] | None = None) -> None:
        """End a stage, which began at the end of the previous stage.

        ``other_stages``: milliseconds to count for other stages.
        """
        now = self.clock()
        for name, value in (other_stages or {}).items():
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + value
        spent = (now - self._last) * 1000 - sum((other_stages or {}).values())
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + max(spent, 0.0)
        self._last = now

    def end(self, outcome: Decision, reason: str) -> None:
        self.outcome, self.reason = outcome, reason
        self.stop()

    @property
    def elapsed(self) -> float:
        return (self.clock() - self._began) * 1000

    def stop(self) -> None:
        self.milliseconds["total"] = self.elapsed


def new_explanation(cursor: DocumentCursor) -> Explanation:
    """Return the explanation of a new request.

    Only explanations made by ``Explanations`` can be found later.
    """
    return Explanation(cursor.uri, position=cursor.position)


@dataclass
class Counts:
    shown: int = 0
    accepted: int = 0
    hidden: int = 0
    typed: int = 0


class Explanations:
    """The latest explanations, by suggestion id and by document."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Explanation] = OrderedDict()
        self._by_uri: dict[str, Explanation] = {}
        self._last: Explanation | None = None

    def begin(self, cursor: DocumentCursor) -> Explanation:
        self._last = self._by_uri[cursor.uri] = new_explanation(cursor)
        return self._last

    def name(self, explanation: Explanation, id: str) -> None:
        explanation.id = id
        self._by_id[id] = explanation
        if len(self._by_id) > MAX_EXPLANATIONS:
            self._by_id.popitem(last=False)

    def find(self, *, id: str | None = None, uri: str | None = None) -> Explanation | None:
        """Return a suggestion's explanation, or the last of a document, or the very last."""
        if id is not None:
            return self._by_id.get(id)
        return self._last if uri is None else self._by_uri.get(uri)

    def forget(self, uri: str) -> None:
        self._by_uri.pop(uri, None)


@dataclass
class Journal:
    """The history of an editor's suggestions since the start, kept when the settings change.

    ``latency``: milliseconds of the last generated suggestion. ``model``: the last model asked.
    """

    explanations: Explanations = field(default_factory=Explanations)
    counts: Counts = field(default_factory=Counts)
    latency: float | None = None
    model: str = ""
