"""The command ``pellucid evaluate``."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from pellucid.config import Settings
from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate import html_report
from pellucid.learn.evaluate.compare import compare
from pellucid.learn.evaluate.open_subject import open_local, open_served
from pellucid.learn.evaluate.registry import EvaluateOptions, build
from pellucid.learn.evaluate.results import FILE, EvaluationResults, ModelResult, SuiteResult, read_results
from pellucid.learn.evaluate.run_suite import folder_name, run_suite
from pellucid.learn.evaluate.subjects import Subject
from pellucid.learn.evaluate.suite_protocol import Suite, SuiteRecord
from pellucid.learn.evaluate.terminal_tables import show_comparisons, show_results
from pellucid.learn.exclusive_lock import locked
from pellucid.system import atomic_files
from pellucid.system.progress import Progress
from pellucid.terminal.progress_bars import Steps

LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Without a ``server``, models are loaded in this process."""

    settings: Settings
    server: str | None
    key: str | None = None

    def subject(self, model: str) -> AbstractAsyncContextManager[Subject]:
        return open_local(self.settings, model) if self.server is None else open_served(self.server, self.key, model)


def evaluate(
    models: Sequence[str], options: EvaluateOptions, place: ModelSource, folder: Path, *, as_json: bool
) -> None:
    """Run the suites on each model; print and save the figures.

    Raises InvalidRequestError for unusable suites, data or folders before loading any model, and
    any error of loading.
    """
    suites = build(options)
    _claim(folder)
    busy = f"Another process is writing an evaluation to {folder}: wait for it, or name another folder with --out."
    with locked(folder / LOCK, busy, atomic_files.OTHER_OUT):
        results = _opened(folder)
        for model in models:
            with Steps() as steps:
                results = asyncio.run(_evaluate(model, suites, place, folder, results, steps))
            _save(results, folder)
    if as_json:
        sys.stdout.write(json.dumps(results.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    else:
        show_results(results)
    sys.stderr.write(f"The report is in {folder / html_report.FILE}.\n")


def compare_folders(first: Path, second: Path, *, as_json: bool) -> None:
    comparisons = compare(first, second)
    if not as_json:
        show_comparisons(comparisons)
        return
    found = [
        {
            "before": one.before,
            "after": one.after,
            "figures": [change.as_json() for change in one.changes],
            "left_out": one.left_out,
        }
        for one in comparisons
    ]
    sys.stdout.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


async def _evaluate(
    model: str,
    suites: Sequence[Suite],
    place: ModelSource,
    folder: Path,
    results: EvaluationResults,
    progress: Progress,
) -> EvaluationResults:
    async with place.subject(model) as subject:
        earlier: dict[str, Sequence[SuiteRecord]] = {}
        result = _begun(results, subject)
        for suite in suites:
            missing = sorted(suite.needs - subject.abilities)
            if missing:
                found = SuiteResult(
                    suite=suite.name,
                    left_out=f"It needs {' and '.join(missing)}, which {subject.description} does not provide.",
                )
            else:
                found, earlier[suite.name] = await run_suite(
                    suite, subject, folder, earlier, result.find(suite.name), progress
                )
            result = result.with_suite(found)
            results = results.with_model(result)
            _save(results, folder)
    return results


def _begun(results: EvaluationResults, subject: Subject) -> ModelResult:
    identity = dict(subject.identity)
    known = results.find(subject.name)
    if known is not None and known.identity == identity:
        return known
    return ModelResult(
        name=subject.name, description=subject.description, folder=folder_name(subject.name), identity=identity
    )


def _claim(folder: Path) -> None:
    """Create the folder, or accept the folder of an earlier evaluation."""
    if folder.exists() and not folder.is_dir():
        raise InvalidRequestError(f"{folder} is a file: name a folder with --out.")
    if folder.is_dir() and not (folder / FILE).exists() and any(path.name != LOCK for path in folder.iterdir()):
        raise InvalidRequestError(
            f"{folder} contains something other than an evaluation: name another folder with --out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequestError(
            f"{folder} cannot be created ({error.strerror or error}): name another folder with --out."
        ) from None


def _opened(folder: Path) -> EvaluationResults:
    results = read_results(folder) if (folder / FILE).exists() else EvaluationResults()
    results.save(folder)
    return results


def _save(results: EvaluationResults, folder: Path) -> None:
    results.save(folder)
    with atomic_files.errors_explained(folder, atomic_files.OTHER_OUT):
        atomic_files.write_text(folder / html_report.FILE, html_report.html(results))
