"""Possible next changes of lines, and the evidence for a change apart from a model's reading."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """Reasons to propose a change, which count in addition to a model's reading."""

    ALIKE = "alike"
    """The code around is like that of the edit."""
    ARGUMENT = "argument"
    """A call of the same function as that of the edit, or of the function of the edit."""
    REPEATED = "repeated"
    """An earlier edit made the same change already."""
    UNDEFINED = "undefined"
    """The edit renamed the only definition of the old name."""

    @property
    def sentence(self) -> str | None:
        return SENTENCES.get(self)


NATS = {Evidence.ALIKE: 0.0, Evidence.ARGUMENT: 2.2, Evidence.REPEATED: 3.0, Evidence.UNDEFINED: 4.0}
"""The log odds that the evidence adds to those of a reading."""

LIKENESS_NATS = 6.7
"""The log odds that equal code around adds."""

NEUTRAL = 0.64
"""The likeness of a change that repeats nothing."""

SENTENCES = {
    Evidence.ARGUMENT: "It is a call of the same function.",
    Evidence.REPEATED: "The same change was made twice.",
    Evidence.UNDEFINED: "The old name has no definition left here.",
}
"""Reasons for an explanation."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible next change: lines ``old`` from line ``first`` (from 0) become ``new``.

    ``likeness``: the equal share of the code around the edit, from 0 to 1.
    """

    uri: str
    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    likeness: float
    evidence: Evidence = Evidence.ALIKE

    @property
    def nats(self) -> float:
        """The log odds for the change, apart from a model's reading."""
        return NATS[self.evidence] + LIKENESS_NATS * self.likeness

    def overlaps(self, other: Candidate) -> bool:
        """Return whether both change the same lines, or insert lines at the same place."""
        if self.first == other.first and not self.old and not other.old:
            return True
        return self.first < other.first + len(other.old) and other.first < self.first + len(self.old)
