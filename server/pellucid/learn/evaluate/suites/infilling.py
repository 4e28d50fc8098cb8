"""HumanEval's single lines (Bavarian et al. 2022): fill in a removed line."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from pathlib import Path

from rapidfuzz import fuzz

from pellucid.learn.evaluate.benchmark_files import SINGLE_LINES, fingerprint
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import Facts, Measure, Suite, mean, share
from pellucid.learn.evaluate.suites.code_gap_base import TaskQuestion, judge, single_lines
from pellucid.learn.evaluate.suites.humaneval import run_note
from pellucid.vocabulary.query import SamplingParams

NAME = "infilling"

MAX_TOKENS = 64

RULE = (
    f"Greedy, at most {MAX_TOKENS} tokens, cut at the first line break; an exact match ignores white space at "
    "both ends of the line."
)
PREFIX_ONLY = (
    "This model has no infill markers, or the server does not report them: it was asked to continue after the "
    "last word before the gap, and the first line that it wrote after that word was scored."
)

NO_NAMES = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|#.*")
"""Matches strings and comments of a single line."""

MAX_LINE = 4096
"""Maximum characters to search for names: unterminated strings take quadratic time."""


PARAMS = SamplingParams(max_tokens=MAX_TOKENS)


class InfillLine(TaskQuestion):
    async def ask(self, session: ModelSession) -> Facts:
        if session.subject.infill:
            answer = await session.complete(self.task.prefix, self.task.suffix, PARAMS, stop=("\n",))
            line = answer.text.partition("\n")[0]
        else:
            # After the last word: a line break and the next indentation are often one token.
            answer = await session.complete(self.task.prefix.rstrip(), params=PARAMS)
            line = answer.text.partition("\n")[2].lstrip("\n").partition("\n")[0]
        facts: Facts = compare(line, self.task.solution)
        facts |= {"prefix": self.task.prefix, "suffix": self.task.suffix, "answers": [f"{line}\n"]}
        if self.run_code:
            outcome = await judge(self.task, f"{line}\n")
            facts |= {"passed": outcome.passed, "end": str(outcome)}
        return facts


class Infilling(Suite):
    name = NAME
    needs = frozenset({Ability.COMPLETE})

    def __init__(self, data: Path | None, limit: int | None, *, run_code: bool) -> None:
        path = SINGLE_LINES.find(data)
        self.asked = [InfillLine(task, run_code) for task in single_lines(path, limit)]
        self.settings = {"data": fingerprint(path), "run code": run_code}
        self._run_code = run_code

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        notes = [
            RULE,
            "Intervals come from resampling problems, each of which has several lines.",
            run_note(self._run_code),
        ]
        return notes if session.subject.infill else [PREFIX_ONLY, *notes]


def compare(line: str, solution: str) -> Facts:
    generated, expected = line.strip(), solution.strip()
    return {
        "same": generated == expected,
        "similarity": fuzz.ratio(generated, expected) / 100,
        "identifiers": identifier_f1(generated, expected),
    }


def identifier_f1(generated: str, expected: str) -> float | None:
    """Return F1 of the sets of identifiers; None if both are empty."""
    one, other = identifiers(generated), identifiers(expected)
    return 2 * len(one & other) / (len(one) + len(other)) if one or other else None


def identifiers(line: str) -> set[str]:
    return {
        name for name in re.findall(r"[^\W\d]\w*", NO_NAMES.sub(" ", line[:MAX_LINE])) if not keyword.iskeyword(name)
    }


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    found = [
        share("exact match", lambda one: one["same"]),
        mean("edit similarity", lambda one: one["similarity"]),
        mean("identifier F1", lambda one: one["identifiers"], applies=lambda one: one["identifiers"] is not None),
    ]
    if any("passed" in one for one in facts):
        found.append(share("pass@1", lambda one: one["passed"], applies=lambda one: "passed" in one))
    return found
