"""Asks a model the unanswered questions of a suite, and summarizes the records."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.registry import KINDS
from pellucid.learn.evaluate.results import Circumstances, Reliability, SuiteResult, figures
from pellucid.learn.evaluate.subjects import Subject
from pellucid.learn.evaluate.suite_protocol import Question, Suite, SuiteRecord
from pellucid.learn.evaluate.suite_records import open_records
from pellucid.learn.record_file import RecordFile
from pellucid.system.atomic_files import OTHER_OUT
from pellucid.system.progress import Progress


def folder_name(model: str) -> str:
    return re.sub(r"[^\w.@+-]+", "_", model).lstrip(".") or "model"


def records_path(folder: Path, model_folder: str, suite: str) -> Path:
    return folder / model_folder / f"{suite}.jsonl"


async def run_suite(
    suite: Suite,
    subject: Subject,
    folder: Path,
    earlier: Mapping[str, Sequence[SuiteRecord]],
    known: SuiteResult | None,
    progress: Progress,
) -> tuple[SuiteResult, list[SuiteRecord]]:
    """Ask the questions, resuming an earlier run.

    ``known`` is the suite's earlier result for this model. A suite that measures the machine starts
    over on a different machine.
    """
    now, then = Circumstances.now(), None if known is None else known.circumstances
    session = ModelSession(subject)
    questions = await suite.questions(session, earlier)
    path = records_path(folder, folder_name(subject.name), suite.name)
    if suite.derived:
        path.unlink(missing_ok=True)
    start_over = suite.timed and (then is None or then.place != now.place)
    records, is_new = await ask_questions(suite, subject, questions, path, progress, start_over=start_over)
    return _summary(suite, session, records, now if is_new or then is None else then), records


async def ask_questions(
    suite: Suite,
    subject: Subject,
    questions: Sequence[Question],
    path: Path,
    progress: Progress,
    *,
    start_over: bool = False,
    elsewhere: str = OTHER_OUT,
) -> tuple[list[SuiteRecord], bool]:
    """Ask the questions without a record in the file.

    Return all records in the order of questions, and True if any question was asked.
    """
    with open_records(
        path, suite.name, subject.identity, suite.header, start_over=start_over, elsewhere=elsewhere
    ) as file:
        done = {record.id: record for record in file.records}
        left = [question for question in questions if question.id not in done]
        for question in questions:
            before = done.get(question.id)
            # The units of texts depend on the number of files.
            if before is not None and before.unit != question.unit:
                file.append(replace(before, unit=question.unit))
        progress.start(f"{subject.name}: {suite.name}", len(questions))
        progress.advance(len(questions) - len(left))
        await _ask_all(left, subject, file, suite.at_once, progress)
        done = {record.id: record for record in file.records}
        return [done[question.id] for question in questions], bool(left)


async def _ask_all(
    questions: Sequence[Question], subject: Subject, file: RecordFile[SuiteRecord], at_once: int, progress: Progress
) -> None:
    """Ask ``at_once`` questions at a time, in order. The first failure cancels all questions."""
    waiting = iter(questions)

    async def work() -> None:
        for question in waiting:
            session = ModelSession(subject)
            facts = await question.ask(session)
            file.append(SuiteRecord(question.id, question.unit, facts, dict(session.usage)))
            progress.advance(1)

    workers = [asyncio.create_task(work()) for _ in range(min(at_once, len(questions)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _summary(
    suite: Suite, session: ModelSession, records: Sequence[SuiteRecord], circumstances: Circumstances
) -> SuiteResult:
    kind, gate = KINDS[suite.name], suite.gate(session.subject)
    records = kind.judge(records, gate)
    facts = [record.facts for record in records]
    return SuiteResult(
        suite=suite.name,
        circumstances=circumstances,
        settings=suite.header,
        gate=dict(gate),
        asked=len(records),
        figures=figures(measure.of(records) for measure in kind.measures(facts)),
        diagrams=tuple(Reliability.of(diagram) for diagram in suite.diagrams(facts)),
        notes=tuple(suite.notes(session, facts)),
        cost=_cost(session.subject, records),
    )


def _cost(subject: Subject, records: Sequence[SuiteRecord]) -> dict[str, int]:
    """Return the tokens of all questions, including earlier runs, and FLOPs if known."""
    usage: Counter[str] = Counter()
    for record in records:
        usage.update({name: int(value) for name, value in record.usage.items()})
    cost = {name: usage[name] for name in ("requests", "computed", "cached", "generated")}
    if subject.parameters is not None:
        cost["flops"] = 2 * subject.parameters * (usage["computed"] + usage["generated"])
    return cost
