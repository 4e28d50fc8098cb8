"""Tests of stored records: a killed run loses only its last line, and foreign files stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate.replay_records import SuggestionRecordFile
from support.learn.calibration_records import record

ABOUT = {"model": "m", "cursors": 2}
RECORDS = [record(1, 0.5, True, True), record(2, 0.25, False), record(3, 0.5)]


def test_round_trip(tmp_path: Path) -> None:
    """Appended records can be read again."""
    file = SuggestionRecordFile(tmp_path / "new" / "records.jsonl", ABOUT)
    assert file.read() == []

    for one in RECORDS:
        file.append([one])

    assert SuggestionRecordFile(file.path, ABOUT).read() == RECORDS


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_killed_while_writing(tmp_path: Path, cut: int) -> None:
    """An incomplete line is cut off, and later records can be read."""
    file = SuggestionRecordFile(tmp_path / "records.jsonl", ABOUT)
    file.append(RECORDS[:2])
    content = file.path.read_bytes()
    file.path.write_bytes(content[:-cut])

    assert file.read() == RECORDS[:1]
    file.append(RECORDS[1:])
    assert file.read() == RECORDS


def test_killed_in_the_head(tmp_path: Path) -> None:
    """A run killed in the first line starts over."""
    file = SuggestionRecordFile(tmp_path / "records.jsonl", ABOUT)
    file.path.write_text('{"format": "pell')

    assert file.read() == []
    file.append(RECORDS)
    assert file.read() == RECORDS


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            '{"format": "pellucid replay 1", "about": {"model": "other", "cursors": 2}}\n',
            "contains the records of another run",
        ),
        ('{"name": "left-pad"}\n', "contains the records of another run"),
        ("import os\n", "contains no records of a replay"),
        ('{"a": 1}\n{"b": 2}\n', "contains no records of a replay"),
        ("\ufeff\n", "contains no records of a replay"),
    ],
)
def test_foreign_file(tmp_path: Path, content: str, sentence: str) -> None:
    """A foreign file is rejected and unchanged."""
    file = SuggestionRecordFile(tmp_path / "records.jsonl", ABOUT)
    file.path.write_text(content)

    with pytest.raises(InvalidRequestError, match=sentence):
        file.read()
    assert file.path.read_text() == content


def test_unreadable(tmp_path: Path) -> None:
    """A folder, or bytes that are not text, are rejected."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    for path in (tmp_path, tmp_path / "bytes"):
        with pytest.raises(InvalidRequestError, match=r"only regular files are read|is not UTF-8"):
            SuggestionRecordFile(path, ABOUT).read()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_full_disk() -> None:
    """A full disk is reported in one sentence."""
    with pytest.raises(InvalidRequestError, match="the disk is full: free some space; the records so far are kept"):
        SuggestionRecordFile(Path("/dev/full"), ABOUT).append(RECORDS)


def test_no_folder(tmp_path: Path) -> None:
    """A path below a file is reported with a remedy."""
    (tmp_path / "file").touch()

    with pytest.raises(InvalidRequestError, match="name another file with --records"):
        SuggestionRecordFile(tmp_path / "file" / "records.jsonl", ABOUT).append(RECORDS)
