"""Hallucination in code: the share of names in answers that do not exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.measures.undefined_python_names import names_of
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import (
    Better,
    Facts,
    FigureFormat,
    Measure,
    Question,
    Records,
    Suite,
    mean,
)
from pellucid.learn.evaluate.suites import humaneval, infilling

NAME = "unknown-names"

JUDGED = (infilling.NAME, humaneval.NAME)

PROTOCOL = (
    "Imports and names used in an answer, each counted once, that exist neither in the file nor in Python, "
    "its standard library or the packages installed here. Attributes are not checked, nor are answers that "
    "make the file invalid Python or that contain a star import."
)


@dataclass(frozen=True, slots=True)
class WrittenProgram:
    id: str
    unit: str
    suite: str
    facts: Facts

    async def ask(self, session: ModelSession) -> Facts:
        """Look up the answer's names, without asking the model."""
        found = [names_of(self.facts["prefix"], answer, self.facts["suffix"]) for answer in self.facts["answers"]]
        parsed = [names for names in found if names is not None]
        return {
            "suite": self.suite,
            "answers": len(found),
            "parsed": len(parsed),
            "names": sum(names.all for names in parsed),
            "at fault": sum(bool(names.unknown) for names in parsed),
            "unknown": [name for names in parsed for name in names.unknown],
        }


class UnknownNames(Suite):
    name = NAME
    needs = frozenset({Ability.COMPLETE})
    derived = True

    def __init__(self, chosen: Sequence[str]) -> None:
        self._judged = [name for name in JUDGED if name in chosen]
        self.settings = {"answers of": self._judged}
        if not self._judged:
            raise InvalidRequestError(
                f"{NAME} checks the answers of {' or '.join(JUDGED)}: add one of them to --suite."
            )

    async def questions(self, session: ModelSession, earlier: Records) -> Sequence[Question]:
        return [
            WrittenProgram(f"{suite}: {record.id}", record.unit, suite, record.facts)
            for suite in self._judged
            for record in earlier.get(suite, ())
        ]

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        answers, parsed = (sum(one[name] for one in facts) for name in ("answers", "parsed"))
        unknown = sorted({name for one in facts for name in one["unknown"]})
        named = (
            f" The unknown ones: {', '.join(unknown[:20])}{', ...' if len(unknown) > 20 else ''}." if unknown else ""
        )
        return [PROTOCOL, f"{parsed} of {answers} answers could be checked.{named}"]


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    at_fault = mean(
        "answers with an unknown name",
        lambda one: one["at fault"],
        lambda one: one["parsed"],
        better=Better.LOWER,
        applies=lambda one: one["parsed"] > 0,
    )
    return [
        mean(
            "unknown names",
            lambda one: len(one["unknown"]),
            lambda one: one["names"],
            better=Better.LOWER,
            form=FigureFormat.SHARE,
        ),
        replace(at_fault, binary=all(one["parsed"] <= 1 for one in facts)),
    ]
