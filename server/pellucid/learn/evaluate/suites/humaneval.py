"""HumanEval (Chen et al. 2021): functions from their docstrings, checked by tests."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.benchmark_files import HUMANEVAL, fingerprint
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.sandbox.sandbox import confinement
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import Facts, Measure, Suite, mean
from pellucid.learn.evaluate.suites.code_gap_base import TaskQuestion, judge, whole
from pellucid.learn.metrics import pass_at_k
from pellucid.vocabulary.query import SamplingParams

NAME = "humaneval"

STOPS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```")
"""Five texts from Chen et al., and two typical starts of different content."""

MAX_TOKENS = 512


NO_CODE = "pass@k was skipped: it runs programs that a model wrote, which requires --run-code."


@dataclass(frozen=True, slots=True)
class HumanEvalSampling:
    samples: int = 1
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.temperature:
            raise InvalidRequestError(
                f"{self.samples} samples at temperature 0 are identical: use a higher --temperature, such as 0.8."
            )

    def params(self, problem: str, number: int) -> SamplingParams:
        seed = zlib.crc32(f"{problem} {number}".encode())
        return SamplingParams(max_tokens=MAX_TOKENS, temperature=self.temperature, seed=seed)


@dataclass(frozen=True, slots=True)
class Problem(TaskQuestion):
    sampling: HumanEvalSampling

    async def ask(self, session: ModelSession) -> Facts:
        # A line break and the next indentation are often one token, impossible after a line break.
        task = replace(self.task, prefix=self.task.prefix.rstrip())
        answers, outcomes = [], []
        for number in range(self.sampling.samples):
            answer = await session.complete(task.prefix, params=self.sampling.params(self.id, number), stop=STOPS)
            answers.append(answer.text)
            if self.run_code:
                outcomes.append(await judge(task, answer.text))
        facts: Facts = {"prefix": task.prefix, "answers": answers, "suffix": ""}
        if self.run_code:
            facts["passed"] = [outcome.passed for outcome in outcomes]
            facts["ends"] = list(map(str, outcomes))
        return facts


class HumanEval(Suite):
    name = NAME
    needs = frozenset({Ability.COMPLETE})

    def __init__(self, data: Path | None, limit: int | None, sampling: HumanEvalSampling, *, run_code: bool) -> None:
        path = HUMANEVAL.find(data)
        self.asked = [Problem(task, run_code, sampling) for task in whole(path, limit)]
        self.settings = {
            "data": fingerprint(path),
            "samples": sampling.samples,
            "temperature": sampling.temperature,
            "run code": run_code,
        }
        self._sampling = sampling
        self._run_code = run_code

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        samples, temperature = self._sampling.samples, self._sampling.temperature
        drawn = f"{samples} answers at temperature {temperature:g}" if temperature else "greedy"
        asked = f"Completion of the bare prompt without its final line break, {drawn}, at most {MAX_TOKENS} tokens"
        how = f"{asked}, ended at {', '.join(map(repr, STOPS))}."
        return [how, run_note(self._run_code)]


def run_note(run_code: bool) -> str:
    return f"Programs ran {confinement()}; that is not a security boundary." if run_code else NO_CODE


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    if not facts or any("passed" not in one for one in facts):
        return []
    samples = min(len(one["passed"]) for one in facts)
    return [_pass_at(k) for k in (1, 10, 100) if k <= samples]


def _pass_at(k: int) -> Measure:
    return mean(f"pass@{k}", lambda one: pass_at_k(len(one["passed"]), sum(one["passed"]), k))
