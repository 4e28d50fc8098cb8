"""Tests of the records of a suite."""

from __future__ import annotations

from pathlib import Path

from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.evaluate.suite_records import open_records, read_records

FIRST, SECOND, LATER = SuiteRecord("a", "u", {}), SuiteRecord("b", "u", {}), SuiteRecord("a", "another unit", {})


def test_the_last_record_counts(tmp_path: Path) -> None:
    """The last record of a repeated question counts, in the order of first records."""
    with open_records(tmp_path / "suite.jsonl", "suite", {"name": "tiny"}, {}) as file:
        for record in (FIRST, SECOND, LATER):
            file.append(record)
    assert read_records(tmp_path / "suite.jsonl") == [LATER, SECOND]
