"""The command ``pellucid calibrate --edits``: fits the gate of next edits."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console

from pellucid.completion.edits.edit_gate import EditGate, default_gate
from pellucid.config import Settings
from pellucid.errors import ConfigError, NotSupportedError
from pellucid.learn.calibrate.command import assembled, calibration_file
from pellucid.learn.calibrate.edit_gate_fit import FittedGate, GateScore, ReadProposals, fit_gate
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.run_suite import ask_questions
from pellucid.learn.evaluate.subjects import Ability, Subject
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.evaluate.suites.next_edit import NextEdit
from pellucid.learn.exclusive_lock import locked
from pellucid.learn.metrics import Interval
from pellucid.models.calibrations import EditCalibrationFile, write
from pellucid.terminal.plain_tables import plain_console, plain_table
from pellucid.terminal.progress_bars import Steps
from pellucid.text.assistant import LocalAssistant

ELSEWHERE = "set another folder with PELLUCID_DATA"
BUSY = "Another process is calibrating with these edits: wait for it, and repeat the command."


@dataclass(frozen=True, slots=True)
class CalibrateEditsOptions:
    """``path`` is a git repository or a folder of releases; ``out`` replaces the model's file."""

    path: Path
    limit: int | None = None
    out: Path | None = None
    json: bool = False


def calibrate_edits(settings: Settings, options: CalibrateEditsOptions) -> None:
    """Calibrate the next edits of the first model.

    An interrupted run is resumed.
    """
    with Steps() as steps:
        suite = NextEdit(options.path, options.limit, steps)
    engine, assistant = assembled(settings)
    try:
        subject, file = _subject(assistant), calibration_file(assistant).of_edits()
        run = json.dumps([dict(subject.identity), suite.header], sort_keys=True)
        path = settings.data / "calibration" / f"edits-{hashlib.sha256(run.encode()).hexdigest()[:16]}.jsonl"
        with locked(path.with_suffix(".lock"), BUSY, ELSEWHERE):
            records = asyncio.run(_read(suite, subject, path))
    finally:
        engine.close()
    table = ReadProposals.of(records)
    with Steps() as steps:
        steps.start("fitting and measuring", 1)
        fitted = fit_gate(table, default_gate(), has_more=suite.sample.has_more_right_ones)
        steps.advance(1)
    about = {
        "model": subject.name,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "folder": options.path.resolve().name,
        "source": hashlib.sha256(os.fsencode(options.path.resolve())).hexdigest()[:16],
        "edits": sum(bool(record.facts["proposals"]) for record in records),
        "figures": _figures(table, fitted),
    }
    gate = replace(fitted.gate, about=about)
    stored, sentence = _stored(gate, fitted, file, options.out)
    if options.json:
        sys.stdout.write(json.dumps(gate.record | {"path": stored and str(stored)}) + "\n")
    else:
        _show(fitted, table, plain_console())
    sys.stderr.write(f"{sentence}\n")


def _subject(assistant: LocalAssistant) -> Subject:
    card = assistant.models.find(None).card()
    if not card.infill:
        raise NotSupportedError(f"{card.name} has no infill markers, so it cannot read next edits: use another model.")
    identity = {"name": card.name, "weights": calibration_file(assistant).key}
    return Subject(
        card.name,
        card.description,
        identity,
        assistant,
        frozenset(Ability),
        card.context,
        card.infill,
        card.chat,
        files=card.files,
    )


async def _read(suite: NextEdit, subject: Subject, path: Path) -> list[SuiteRecord]:
    questions = await suite.questions(ModelSession(subject), {})
    with Steps() as steps:
        records, _ = await ask_questions(suite, subject, questions, path, steps, elsewhere=ELSEWHERE)
    return records


def _stored(gate: EditGate, fitted: FittedGate, file: EditCalibrationFile, out: Path | None) -> tuple[Path | None, str]:
    """Store a gate in the named file or, if better, for the model. Return path and reason."""
    is_stored, reason = (True, "") if out is not None else _decided(gate, fitted, file)
    if not is_stored:
        return None, reason
    path = out or file.path
    write(path, gate.record, file.key)
    if out is not None:
        return path, f"The calibration is in {path}."
    without = "the default model's" if file.builtin() is None else "the built-in one"
    return (
        path,
        (
            f"{reason} It is in {path}. Editors use it from their next connection on; delete the file to return to "
            f"{without}."
        ),
    )


def _decided(gate: EditGate, fitted: FittedGate, file: EditCalibrationFile) -> tuple[bool, str]:
    """Return True if a gate is to be stored for the model, and the reason.

    The present gate is replaced only by a clearly better gate or by a gate from more edits of the
    same source: the present gate may have been fitted on some of the test edits.
    """
    present = _present(file)
    if present is None:
        lead = fitted.lead_over(default_gate())
        if lead.high < 0:
            return (
                False,
                "On these edits the calibration is clearly worse than the default model's, so it was not stored.",
            )
        better = "clearly better" if lead.low > 0 else "not clearly worse"
        return True, f"On these edits the calibration is {better} than the default model's, so it was stored."
    name = (
        "the built-in one"
        if present.about == (file.builtin() or {}).get("about")
        else f"the present one in {file.path}"
    )
    lead = fitted.lead_over(present)
    if lead.low > 0:
        return True, f"On these edits the calibration is clearly better than {name}, so it was stored."
    if lead.high >= 0 and _has_more_edits(gate, present):
        return (
            True,
            (
                f"The calibration has more edits of the same source than {name} and is not clearly worse, so it was "
                "stored."
            ),
        )
    return False, f"On these edits the calibration is not clearly better than {name}, so it was not stored."


def _present(file: EditCalibrationFile) -> EditGate | None:
    record, _ = file.measured()
    try:
        return None if record is None else EditGate.read(record)
    except ConfigError:
        return None


def _has_more_edits(gate: EditGate, present: EditGate) -> bool:
    known = present.about.get("edits")
    return (
        gate.about["source"] == present.about.get("source") and isinstance(known, int) and gate.about["edits"] > known
    )


def _figures(table: ReadProposals, fitted: FittedGate) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "proposals": len(table.odds),
        "right": int(table.right.sum()),
        "packages or commits": table.unit_count,
    }
    for name, score in {"fitted": fitted.score, "default": fitted.default}.items():
        measured[name] = {
            metric: {end: round(value, 4) if isfinite(value) else None for end, value in interval.items()}
            for metric, interval in asdict(score).items()
        }
    return measured


def _show(fitted: FittedGate, table: ReadProposals, console: Console) -> None:
    console.print(
        f"Fitted on {len(table.odds):,} proposals in {table.unit_count:,} packages or commits, "
        f"{int(table.right.sum()):,} of them right. "
        f"P(right) = logistic({fitted.gate.bias:.2f} + {fitted.gate.slope:.2f} D), "
        "D = log p(new lines) - log p(old lines) in nats.",
        soft_wrap=True,
    )
    title = (
        "The default model's calibration, and one fitted without the packages or commits that it judges (95 % "
        "intervals by these)"
    )
    grid = plain_table(("",), ("the default", "fitted"), title=title)
    rows: dict[str, Callable[[GateScore], Interval]] = {
        "AUROC": lambda score: score.auroc,
        "ECE, 10 bins": lambda score: score.calibration_error,
        "log loss": lambda score: score.loss,
    }
    for name, metric in rows.items():
        grid.add_row(
            name,
            *(f"{one.value:.3f} ({one.low:.3f}–{one.high:.3f})" for one in map(metric, (fitted.default, fitted.score))),
        )
    console.print(grid)
