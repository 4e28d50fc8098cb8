"""Next edits: how often the following edits of a commit or release are suggested."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_gate import LEAST, EditGate, default_gate
from pellucid.completion.edits.edit_judge import READ, as_diff
from pellucid.completion.edits.next_edits import shown_rank
from pellucid.completion.edits.reading import log_odds
from pellucid.errors import ContextLengthError
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability, Subject
from pellucid.learn.evaluate.suite_protocol import (
    Facts,
    FigureFormat,
    Measure,
    Question,
    Records,
    Rows,
    Statistic,
    Suite,
    mean,
    share,
)
from pellucid.learn.metrics import auroc
from pellucid.learn.next_edits.edit_cases import KEYS_FOR_A_SUGGESTION, EditCase
from pellucid.learn.next_edits.edit_sample import EditKind, draw_edits, weights
from pellucid.system.progress import Progress

NAME = "next-edit"

FIRST = 3

PROTOCOL = (
    "The file has the changes of a commit or release up to one; that one is the user's edit, and those that "
    f"follow are right. At most {READ} places are read, without an editor's limit of time. A site is found if "
    "the later version changes it; lines are exact if it has them. Suggestions come in an editor's order: "
    "from the edit on downwards, then from the top. An exact one saves the keys that typing it takes, less "
    f"{KEYS_FOR_A_SUGGESTION}, of all that remain to be typed in the file."
)
QUIET = (
    "The quiet rate is that of all edits after which nothing more of the file changed; those without a proposal "
    "are quiet."
)
ALL_SHOWN = "Nothing was read: every proposal is shown."
NO_DIFF = "The model read each place without the edit."
NO_MARKER = "The model has no marker for other files, so it read each place without the edit, as in an editor."


@dataclass(frozen=True, slots=True)
class EditQuestion:
    """``of_kind`` is the number of edits represented by all drawn edits of the kind."""

    case: EditCase
    kind: EditKind
    of_kind: int
    with_reading: bool
    with_diff: bool

    @property
    def id(self) -> str:
        return self.case.id

    @property
    def unit(self) -> str:
        return self.case.unit

    async def ask(self, session: ModelSession) -> Facts:
        begun = time.perf_counter()
        proposals = [await self._judged(proposal, session) for proposal in self.case.proposals]
        return {
            "kind": str(self.kind),
            "of kind": self.of_kind,
            "read": self.with_reading,
            "followed": bool(self.case.following),
            "keystrokes": self.case.keystrokes,
            "line": self.case.edit.first,
            "proposals": proposals,
            "seconds": time.perf_counter() - begun,
        }

    async def _judged(self, proposal: Candidate, session: ModelSession) -> Facts:
        """Score a proposal."""
        odds = await self._odds(proposal, session) if self.with_reading else -math.inf
        return {
            "line": proposal.first,
            "likeness": proposal.likeness,
            "evidence": proposal.nats,
            "log odds": odds if math.isfinite(odds) else None,
            "found": self.case.is_found(proposal),
            "right": self.case.is_right(proposal),
            "saved": self.case.saved(proposal),
        }

    async def _odds(self, proposal: Candidate, session: ModelSession) -> float:
        extra = as_diff(self.case.edit) if self.with_diff and session.subject.files else ()
        try:
            return await log_odds(session, proposal, self.case.lines, session.subject.name, extra)
        except ContextLengthError:
            return -math.inf


class NextEdit(Suite):
    """The suite: edits of a git repository's commits, or of releases of packages.

    ``limit`` is the number of edits to read.
    """

    name = NAME
    needs = frozenset({Ability.GAPS})
    _with_reading = True

    def __init__(self, path: Path, limit: int | None, progress: Progress, *, with_diff: bool = True) -> None:
        self.sample = draw_edits(path, limit, progress)
        self._with_diff = with_diff
        self.settings = {"edits": self.sample.digest, "reading": self._with_reading, "diff": with_diff}

    async def questions(self, session: ModelSession, earlier: Records) -> Sequence[Question]:
        totals = self.sample.totals
        return [
            EditQuestion(case, kind, totals[kind], self._with_reading, self._with_diff)
            for case, kind in self.sample.cases
        ]

    def gate(self, subject: Subject) -> Mapping[str, float]:
        return {"bias": subject.edit_gate.bias, "slope": subject.edit_gate.slope} if self._with_reading else {}

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        notes = [PROTOCOL, QUIET, str(self.sample)]
        if not self._with_reading:
            return [*notes, ALL_SHOWN]
        notes.append(_gate_note(session.subject.edit_gate))
        unread = sum(proposal["log odds"] is None for one in facts for proposal in one["proposals"])
        if unread:
            notes.append(
                f"{unread} proposals could not be read, as they are too long for the model, and count as not shown."
            )
        if not self._with_diff:
            return [*notes, NO_DIFF]
        return notes if session.subject.files else [*notes, NO_MARKER]


class NextEditProposals(NextEdit):
    """The same edits without any model: every proposal is shown."""

    needs = frozenset()
    _with_reading = False

    def __init__(self, path: Path, limit: int | None, progress: Progress) -> None:
        super().__init__(path, limit, progress, with_diff=False)


def judged(facts: Facts, gate: Mapping[str, float]) -> Facts:
    if not facts["read"]:
        return facts
    curve = EditGate(gate["bias"], gate["slope"])
    proposals = [
        one | {"probability": None if (odds := total_odds(one)) is None else curve.probability(odds)}
        for one in facts["proposals"]
    ]
    return facts | {"proposals": proposals}


def _gate_note(gate: EditGate) -> str:
    whose = "the default model's" if gate == default_gate() else "the model's own"
    return (
        f"P(right) = logistic({gate.bias:.2f} + {gate.slope:.2f} (log p(new lines) - log p(old lines) + evidence)): "
        f"{whose} calibration."
    )


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    """Return the figures for each level of the gate, or once without reading.

    Edits are weighted by the frequency of the kind. ``facts`` are from ``judged``.
    """
    stands_for = weights((one["kind"], one["of kind"]) for one in facts)

    def weight(one: Facts) -> float:
        return stands_for[str(one["kind"])]

    if not any(one["read"] for one in facts):
        return _figures("", None, weight)
    found = [measure for level, least in LEAST.items() for measure in _figures(str(level), least, weight)]
    return [
        *found,
        Measure(
            "AUROC of the reading", lambda own: _auroc(own, weight), FigureFormat.NUMBER, applies=_has_read, most=1.0
        ),
    ]


def _figures(level: str, least: float | None, weight: Callable[[Facts], float]) -> list[Measure]:
    def best(one: Facts, count: int = 1) -> list[Facts]:
        return shown(one, least)[:count]

    def is_quiet(one: Facts) -> bool:
        return not best(one)

    def rate(
        name: str, holds: Callable[[Facts], bool], applies: Callable[[Facts], bool], *, detail: bool = False
    ) -> Measure:
        return share(name, holds, group=level, applies=applies, detail=detail, weight=weight)

    def is_exact(one: Facts) -> bool:
        return any(proposal["right"] for proposal in best(one))

    def keys(one: Facts) -> float:
        return float(weight(one) * one["keystrokes"])

    def saved(one: Facts) -> float:
        return weight(one) * sum(int(proposal["saved"]) for proposal in shown(one, least) if proposal["right"])

    return [
        rate("site found, first", lambda one: any(proposal["found"] for proposal in best(one)), _is_followed),
        rate(
            f"site found, first {FIRST}",
            lambda one: any(proposal["found"] for proposal in best(one, FIRST)),
            _is_followed,
        ),
        rate("exact lines, first", is_exact, _is_followed),
        rate("exact lines, first, if possible", is_exact, _is_able),
        rate("exact, of those shown", is_exact, lambda one: not is_quiet(one)),
        replace(mean("keystrokes saved", saved, keys, group=level, applies=_is_followed), weight=keys),
        rate("quiet rate", is_quiet, lambda one: not one["followed"]),
        rate("quiet rate, with proposals", is_quiet, lambda one: not one["followed"] and bool(one["proposals"])),
        rate(
            "quiet, no proposal right", is_quiet, lambda one: bool(one["proposals"]) and not _is_able(one), detail=True
        ),
        rate("show rate", lambda one: not is_quiet(one), _is_followed),
        rate("show rate, if possible", lambda one: not is_quiet(one), _is_able, detail=True),
    ]


def shown(one: Facts, least: float | None) -> list[Facts]:
    """Return the shown proposals in an editor's order."""
    proposals: list[Facts] = one["proposals"]
    if least is not None:
        proposals = [
            proposal
            for proposal in proposals
            if proposal["probability"] is not None and proposal["probability"] >= least
        ]
    return sorted(proposals, key=lambda proposal: shown_rank(proposal["line"], one["line"]))


def total_odds(proposal: Facts) -> float | None:
    """Return the log odds of a reading with those of the evidence; None if not read."""
    return None if proposal["log odds"] is None else float(proposal["log odds"] + proposal["evidence"])


def _is_followed(one: Facts) -> bool:
    return bool(one["followed"])


def _is_able(one: Facts) -> bool:
    return bool(one["kind"] == EditKind.ABLE)


def _has_read(one: Facts) -> bool:
    return any(proposal["log odds"] is not None for proposal in one["proposals"])


def _auroc(facts: Sequence[Facts], weight: Callable[[Facts], float]) -> Statistic:
    """Score right proposals against wrong proposals by log odds."""
    rows = [[(total_odds(proposal), proposal["right"], weight(one)) for proposal in one["proposals"]] for one in facts]
    read = [np.array([row for row in some if row[0] is not None], dtype=np.float64) for some in rows]

    def statistic(drawn: Rows) -> float:
        odds, right, counted = np.concatenate([read[number] for number in drawn]).T
        return auroc(odds, right, counted)

    return statistic
