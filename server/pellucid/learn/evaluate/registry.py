"""All suites by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.suite_protocol import Facts, Measure, Suite, SuiteRecord
from pellucid.learn.evaluate.suites import (
    crows_pairs,
    humaneval,
    infilling,
    next_edit,
    perplexity,
    speed,
    text_similarity,
    truthfulqa,
    unknown_names,
    winogender,
)
from pellucid.terminal.progress_bars import Steps

GREEDY = humaneval.HumanEvalSampling()


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """``data`` is a folder of benchmark files, ``references`` a file of prompts and answers.

    ``edits`` is a git repository or a folder of releases.
    """

    suites: Sequence[str]
    data: Path | None = None
    text: Path | None = None
    references: Path | None = None
    encoder: Path | None = None
    edits: Path | None = None
    with_reading: bool = True
    with_diff: bool = True
    limit: int | None = None
    window: int | None = None
    like_llama: bool = False
    run_code: bool = False
    sampling: humaneval.HumanEvalSampling = GREEDY


@dataclass(frozen=True, slots=True)
class SuiteKind:
    """``is_pair`` tests if two models' records are comparable.

    ``judged`` adds facts that depend on the gate.
    """

    build: Callable[[EvaluateOptions], Suite]
    measures: Callable[[Sequence[Facts]], Sequence[Measure]]
    is_pair: Callable[[Facts, Facts], bool] = lambda before, after: True
    judged: Callable[[Facts, Mapping[str, float]], Facts] = lambda facts, gate: facts

    def judge(self, records: Sequence[SuiteRecord], gate: Mapping[str, float]) -> list[SuiteRecord]:
        return [replace(record, facts=self.judged(record.facts, gate)) for record in records]


def _perplexity(options: EvaluateOptions) -> Suite:
    path = _required(options.text, "perplexity needs a text: name a file or folder with --text.")
    with Steps() as steps:
        return perplexity.Perplexity(
            path, options.limit, like_llama=options.like_llama, window=options.window, progress=steps
        )


def _text(options: EvaluateOptions) -> Suite:
    path = _required(options.references, "text needs reference answers: name a file of JSON lines with --references.")
    return text_similarity.TextSimilarity(path, options.limit, options.encoder)


def _next_edit(options: EvaluateOptions) -> Suite:
    path = _required(
        options.edits, f"{next_edit.NAME} needs edits: name a git repository or a folder of releases with --edits."
    )
    if not options.with_reading and not options.with_diff:
        raise InvalidRequestError("--without-diff changes nothing with --without-reading: omit one of them.")
    with Steps() as steps:
        if not options.with_reading:
            return next_edit.NextEditProposals(path, options.limit, steps)
        return next_edit.NextEdit(path, options.limit, steps, with_diff=options.with_diff)


KINDS: Mapping[str, SuiteKind] = {
    perplexity.NAME: SuiteKind(_perplexity, perplexity.measures, perplexity.is_pair),
    infilling.NAME: SuiteKind(
        lambda given: infilling.Infilling(given.data, given.limit, run_code=given.run_code), infilling.measures
    ),
    humaneval.NAME: SuiteKind(
        lambda given: humaneval.HumanEval(given.data, given.limit, given.sampling, run_code=given.run_code),
        humaneval.measures,
    ),
    next_edit.NAME: SuiteKind(_next_edit, next_edit.measures, judged=next_edit.judged),
    unknown_names.NAME: SuiteKind(lambda given: unknown_names.UnknownNames(given.suites), unknown_names.measures),
    text_similarity.NAME: SuiteKind(_text, text_similarity.measures),
    truthfulqa.NAME: SuiteKind(lambda given: truthfulqa.TruthfulQA(given.data, given.limit), truthfulqa.measures),
    crows_pairs.NAME: SuiteKind(lambda given: crows_pairs.CrowsPairs(given.data, given.limit), crows_pairs.measures),
    winogender.NAME: SuiteKind(lambda given: winogender.Winogender(given.data, given.limit), winogender.measures),
    speed.NAME: SuiteKind(lambda given: speed.Speed(), speed.measures),
}
"""All suites in order of execution: a suite with checks of answers follows the asking suites."""


def chosen_names(given: Sequence[str]) -> list[str]:
    names = [name.strip() for part in given for name in part.split(",") if name.strip()]
    for name in names:
        if name not in KINDS:
            close = get_close_matches(name, KINDS, n=1)
            more = f"did you mean {close[0]}?" if close else f"the suites are {', '.join(KINDS)}."
            raise InvalidRequestError(f"There is no suite {name!r}: {more}")
    if not names:
        raise InvalidRequestError(f"No suite is named: give --suite with one or more of {', '.join(KINDS)}.")
    return [name for name in KINDS if name in names]


def build(options: EvaluateOptions) -> list[Suite]:
    if next_edit.NAME not in options.suites and not (
        options.edits is None and options.with_reading and options.with_diff
    ):
        raise InvalidRequestError(
            f"--edits, --without-reading and --without-diff are for {next_edit.NAME}: add it to --suite, or omit them."
        )
    return [KINDS[name].build(options) for name in options.suites]


def _required(path: Path | None, sentence: str) -> Path:
    if path is None:
        raise InvalidRequestError(sentence[0].upper() + sentence[1:])
    return path
