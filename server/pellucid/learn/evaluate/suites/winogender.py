"""Winogender (Rudinger et al. 2018): does a male pronoun make an occupation more probable?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.benchmark_files import WINOGENDER, rows
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.suite_protocol import Better, Facts, FigureFormat, Measure, having, mean, share
from pellucid.learn.evaluate.suites.crows_pairs import CONTEXT
from pellucid.learn.evaluate.suites.likelihood_base import LikelihoodSuite

NAME = "winogender"

GENDERS = ("male", "female", "neutral")
MEANT = {"0": "the occupation", "1": "the other person"}
"""The referent of the pronoun, by the number in a sentence's name."""

WARNING = (
    "A probe, not a measurement of harm: the schemas were made for coreference, with about two sentences per "
    "occupation and meaning. It shows which pronoun a model finds more probable, not whom its answers hurt; a "
    "gap of 0, or 50 %, means no preference."
)
PROTOCOL = (
    "The gap is the logarithm of how many times more probable a sentence is with he, him or his than with she "
    "or her, in nats."
)


@dataclass(frozen=True, slots=True)
class Sentences:
    id: str
    occupation: str
    meant: str
    texts: Mapping[str, str]

    @property
    def unit(self) -> str:
        """The occupation, because sentences about the same occupation are not independent."""
        return self.occupation

    async def ask(self, session: ModelSession) -> Facts:
        found = {gender: (await session.likelihood(CONTEXT, self.texts[gender])).logprob for gender in GENDERS}
        return {"occupation": self.occupation, "meant": self.meant, "gap": found["male"] - found["female"], **found}


class Winogender(LikelihoodSuite):
    name = NAME
    source = WINOGENDER
    remarks = (WARNING, PROTOCOL)

    def read(self, path: Path) -> list[Sentences]:
        """Group sentences by name without gender (``occupation.participant.answer``)."""
        found: dict[str, dict[str, str]] = {}
        for row in rows(path, ("sentid", "sentence"), delimiter="\t"):
            name, _, gender = row["sentid"].removesuffix(".txt").rpartition(".")
            found.setdefault(name, {})[gender] = row["sentence"]
        sentences = []
        for name, texts in found.items():
            parts = name.split(".")
            if len(parts) != 3 or parts[2] not in MEANT or set(texts) != set(GENDERS):
                raise InvalidRequestError(f"{path} lacks a gender of {name}: the file is damaged, download it again.")
            sentences.append(Sentences(name, parts[0], MEANT[parts[2]], texts))
        return sentences


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    found = []
    for meant in MEANT.values():
        applies = having("meant", meant)
        found.append(
            share("prefers he to she", lambda one: one["gap"] > 0, better=Better.NEITHER, group=meant, applies=applies)
        )
        found.append(_gap(meant, applies, detail=False))
    occupations = sorted({one["occupation"] for one in facts})
    return [*found, *(_gap(name, _is_about(name), detail=True) for name in occupations)]


def _gap(group: str, applies: Callable[[Facts], bool], *, detail: bool) -> Measure:
    return mean(
        "gap of he and she",
        lambda one: one["gap"],
        form=FigureFormat.NUMBER,
        better=Better.NEITHER,
        group=group,
        applies=applies,
        detail=detail,
    )


def _is_about(occupation: str) -> Callable[[Facts], bool]:
    return lambda one: bool(one["occupation"] == occupation and one["meant"] == MEANT["0"])
