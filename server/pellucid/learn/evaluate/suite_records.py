"""Stores the records of a suite and a model, so that a killed evaluation can resume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pellucid.learn import record_file
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.record_file import RecordFile
from pellucid.system.atomic_files import OTHER_OUT

KIND: Final = {"kind": "pellucid-evaluation-records", "format": 1}


def open_records(
    path: Path,
    suite: str,
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    start_over: bool = False,
    elsewhere: str = OTHER_OUT,
) -> RecordFile[SuiteRecord]:
    header = KIND | {"suite": suite, "model": dict(model), "settings": dict(settings)}
    return RecordFile(path, header, _read, what="an evaluation", remedy=elsewhere, start_over=start_over)


def read_records(path: Path) -> list[SuiteRecord]:
    """Return the last record of each question, in the order of first records."""
    remedy = "name a folder that pellucid evaluate wrote"
    found = record_file.read_records(path, KIND, _read, "an evaluation", remedy)
    return list({record.id: record for record in found}.values())


def _read(fields: dict[str, Any]) -> SuiteRecord:
    return SuiteRecord(**fields)
