"""The command ``pellucid calibrate``: fits probabilities of suggestions."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pellucid.completion.document_cursor import normalize_newlines
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.completion.trust.suggestion_log import FILE, SuggestionLog
from pellucid.config import Settings
from pellucid.engine.port import Engine
from pellucid.errors import InvalidRequestError, NotSupportedError
from pellucid.learn.calibrate.cursors import SUFFIXES, ReplayCursor, divide, draw
from pellucid.learn.calibrate.held_out_check import Findings, find
from pellucid.learn.calibrate.logged_suggestions import logged_table
from pellucid.learn.calibrate.plot import picture
from pellucid.learn.calibrate.probability_models import MIN_SUGGESTIONS, check, fit_all
from pellucid.learn.calibrate.replay import replay_cursors, replay_identity
from pellucid.learn.calibrate.replay_records import SuggestionRecord, open_records
from pellucid.learn.calibrate.report import as_record, figures, show
from pellucid.learn.calibrate.training_rows import Table
from pellucid.learn.corpus import LARGEST_SOURCE_BYTES, Corpus, CorpusBudget, gather
from pellucid.learn.duplicates import without_near_duplicates
from pellucid.models.calibrations import CalibrationFile, write
from pellucid.serving.assemble import assemble
from pellucid.serving.assemble_front import assemble_front, check_front, join_engines
from pellucid.system.svg import check_picture_path, write_picture
from pellucid.terminal.plain_tables import plain_console
from pellucid.terminal.progress_bars import Bars, Steps
from pellucid.text.assistant import LocalAssistant

WIDE = 170

FILES = CorpusBudget(1_000, 10_000_000)
"""Limits of files and bytes, for 400 cursors by default."""

FIT_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """``out`` replaces the calibration file next to the model, ``records`` the replay's file."""

    path: Path
    cursors: int
    out: Path | None = None
    records: Path | None = None
    plot: Path | None = None
    with_log: bool = False
    json: bool = False


def calibrate(settings: Settings, options: CalibrateOptions) -> None:
    """Calibrate the suggestions of the first model.

    Replayed cursors are reused.
    """
    if options.plot is not None:
        check_picture_path(options.plot)
    to_fit = round(options.cursors * FIT_SHARE)
    if 2 * to_fit < MIN_SUGGESTIONS:  # At most two suggestions per cursor
        least = math.ceil(MIN_SUGGESTIONS / 2 / FIT_SHARE)
        raise InvalidRequestError(
            f"{options.cursors} cursors are too few to fit a model: use --cursors {least} or more, preferably hundreds."
        )
    with Steps() as steps:
        found = gather([options.path], suffixes=SUFFIXES, largest=LARGEST_SOURCE_BYTES, budget=FILES, progress=steps)
        # No near-duplicates in both parts.
        corpus = without_near_duplicates(found, steps)
    sys.stderr.write(f"{options.path}: {corpus}\n")
    fit, test = divide(corpus.documents)
    cursors = [*draw(fit, to_fit), *draw(test, options.cursors - to_fit)]
    engine, assistant = assembled(settings)
    try:
        name, file = assistant.models.find(None).name, calibration_file(assistant)
        records = _replayed(settings, options, corpus, cursors, assistant, file)
    finally:
        engine.close()
    prior = _prior(file)
    findings = _found(settings, options, records, {document.name for document in fit}, name, prior)
    path = options.out or (None if findings.calibration.numbers == prior else file.path)
    if path is None:
        stored = "On these files no other calibration is clearly better than the built-in one, so none was stored."
        # An earlier file, perhaps from a longer run, is not deleted.
        if file.path.exists():
            stored += f" The earlier one in {file.path} stays in use; delete the file to return to the built-in one."
    else:
        write(path, as_record(findings), file.key)
        without = "fixed thresholds" if file.builtin() is None else "the built-in calibration"
        used = (
            f" Editors use it from their next connection on; delete the file to return to {without}."
            if options.out is None
            else ""
        )
        stored = f"The calibration is in {path}.{used}"
    _report(findings, options, path)
    sys.stderr.write(f"{stored}\n")


def assembled(settings: Settings) -> tuple[Engine, LocalAssistant]:
    with Bars() as bars:
        if settings.has_engines_elsewhere:
            check_front(settings)
            parts = assemble_front(settings.model_copy(update={"models": settings.models[:1]}), bars)
            asyncio.run(join_engines(parts))
            return parts.engine, parts.assistant
        return assemble(settings.model_copy(update={"prefix_memory": 0}), settings.models[:1], bars)


def calibration_file(assistant: LocalAssistant) -> CalibrationFile:
    file = assistant.models.find(None).model.calibration
    if file is None:
        raise NotSupportedError(
            "The model is not in Pellucid's cache folder, where its calibration is kept: name a downloaded model."
        )
    return file


def _replayed(
    settings: Settings,
    options: CalibrateOptions,
    corpus: Corpus,
    cursors: Sequence[ReplayCursor],
    assistant: LocalAssistant,
    file: CalibrationFile,
) -> list[SuggestionRecord]:
    texts = {document.name: normalize_newlines(document.text) for document in corpus.documents}
    about = replay_identity(file.key, texts)
    # Each run has its own file of records.
    run = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    path = options.records or settings.data / "calibration" / f"{file.path.stem}-{run}.jsonl"
    name = assistant.models.find(None).name
    with open_records(path, about) as kept:
        return replay_cursors(assistant, name, texts, cursors, kept)


def _prior(file: CalibrationFile) -> tuple[float, ...] | None:
    """Return the coefficients of the built-in calibration if it is a logistic regression."""
    builtin = file.builtin()
    known = None if builtin is None else Calibration.read(builtin)
    return known.numbers if known is not None and known.kind is CalibrationKind.LOGISTIC else None


def _found(
    settings: Settings,
    options: CalibrateOptions,
    records: Sequence[SuggestionRecord],
    to_fit: set[str],
    model: str,
    prior: tuple[float, ...] | None,
) -> Findings:
    fit = Table.of([record for record in records if record.document in to_fit])
    check(fit)
    logged, more = 0, None
    if options.with_log:
        log = SuggestionLog(settings.data / FILE)
        entries = log.entries(model)
        if not entries:
            raise InvalidRequestError(
                f"The log of suggestions {log.path} has no entry of {model} that this version of Pellucid can use: "
                "switch on pellucid.completion.log, or omit --with-log."
            )
        logged, more = len(entries), logged_table(entries, float(fit.whole.sum()))
    with Steps() as steps:
        steps.start("fitting and measuring", 2)
        models = fit_all(fit, more, prior)
        steps.advance(1)
        findings = find(fit, [record for record in records if record.document not in to_fit], models)
        steps.advance(1)
    about = {
        "model": model,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "folder": options.path.resolve().name,
        "cursors": options.cursors,
        "logged": logged,
    }
    return replace(findings, calibration=replace(findings.calibration, about=about))


def _report(findings: Findings, options: CalibrateOptions, path: Path | None) -> None:
    if options.json:
        sys.stdout.write(
            json.dumps(findings.calibration.record | {"path": path and str(path), "figures": figures(findings)}) + "\n"
        )
    else:
        width = None if sys.stdout.isatty() else WIDE
        show(findings, plain_console(width))
    if options.plot is not None:
        write_picture(options.plot, picture(findings))
        sys.stderr.write(f"The chart is in {options.plot}.\n")
    if findings.scores[findings.calibration.kind].skill.low <= 0:
        sys.stderr.write(
            "These few suggestions do not show that the probabilities beat the base rate: use more --cursors.\n"
        )
