"""Tests of record files: a kill loses no whole record, and runs are never mixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.record_file import RecordFile, read_records

HEADER = {"kind": "test", "model": {"name": "tiny"}, "settings": {"temperature": 0.0, "samples": (1,)}}
REMEDY = "name another folder with --out"


@dataclass(frozen=True)
class Answer:
    id: str
    facts: dict[str, Any] = field(default_factory=dict)


FIRST, SECOND, THIRD = Answer("a", {"said": "é\ud800\n"}), Answer("b"), Answer("c")


def opened(path: Path, header: dict[str, Any] = HEADER, **options: bool) -> RecordFile[Answer]:
    return RecordFile(path, header, lambda fields: Answer(**fields), what="a test", remedy=REMEDY, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with two records."""
    path = tmp_path / "new" / "records.jsonl"
    with opened(path) as file:
        file.append(FIRST)
        file.append(SECOND)
    return path


def test_resumed(path: Path) -> None:
    """Earlier records are read, and new records are appended."""
    with opened(path) as file:
        assert file.records == [FIRST, SECOND]
        file.append(THIRD)
    assert read_records(path, HEADER, lambda fields: Answer(**fields), "a test", REMEDY) == [FIRST, SECOND, THIRD]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line(path: Path, cut: int) -> None:
    """A half-written last line is dropped, and the record can be appended again."""
    path.write_bytes(path.read_bytes()[:-cut])
    with opened(path) as file:
        assert file.records == [FIRST]
        file.append(SECOND)
    with opened(path) as file:
        assert file.records == [FIRST, SECOND]


def test_half_a_header(path: Path) -> None:
    """A file whose writer was killed in the first line starts over."""
    path.write_bytes(path.read_bytes()[:10])
    with opened(path) as file:
        assert not file.records
        file.append(SECOND)
    with opened(path) as file:
        assert file.records == [SECOND]


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"model": {"name": "other"}}, 'model, name: "tiny" there, "other" here'),
        ({"settings": {"temperature": 0.8, "samples": [1]}}, "settings, temperature: 0.0 there, 0.8 here"),
        ({"settings": {"temperature": 0.0}}, "settings, samples: [1] there, nothing here"),
    ],
)
def test_another_run(path: Path, changed: dict[str, Any], difference: str) -> None:
    """Records of another run are kept, and the difference is named, unless to be replaced."""
    before = path.read_bytes()
    with pytest.raises(InvalidRequestError) as refused:
        opened(path, HEADER | changed)
    assert str(refused.value) == (
        f"{path} contains the records of another run ({difference}): {REMEDY}, or delete that file."
    )
    assert path.read_bytes() == before
    with opened(path, HEADER | changed, replace_other=True) as file:
        assert not file.records
        file.append(THIRD)
    with opened(path, HEADER | changed) as file:
        assert file.records == [THIRD]


def test_start_over(path: Path) -> None:
    """The records of the same run are discarded on request."""
    with opened(path, start_over=True) as file:
        assert not file.records
        file.append(THIRD)
    with opened(path) as file:
        assert file.records == [THIRD]


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"no": "x"}', b'{"id": "x", "facts": {}, "more": 1}'])
def test_damage(path: Path, line: bytes) -> None:
    """Damage before the last line is reported with the line's number."""
    first, _, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, third, b""]))
    with pytest.raises(InvalidRequestError, match=r"^Line 2 of .*records.jsonl is damaged: delete the file"):
        opened(path)
    with opened(path, replace_other=True) as file:
        assert not file.records


@pytest.mark.parametrize("content", [b"import os\n", b'{"a": 1}\n{"b": 2}\n', b"\xff\xfe\n", b'{"a": 1}'])
@pytest.mark.parametrize(
    "opening", [opened, lambda path: read_records(path, HEADER, lambda fields: fields, "a test", REMEDY)]
)
def test_foreign_file(tmp_path: Path, content: bytes, opening: Callable[[Path], object]) -> None:
    """A file of another kind is refused and unchanged."""
    path = tmp_path / "records.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match=f"contains no records of a test: {REMEDY}"):
        opening(path)
    assert path.read_bytes() == content


def test_no_file(tmp_path: Path) -> None:
    """A folder instead of the file, and a file instead of the folder, are named."""
    (tmp_path / "file").touch()
    for path, problem in ((tmp_path, "only regular files are read"), (tmp_path / "file" / "x", "Not a directory")):
        with pytest.raises(InvalidRequestError, match=rf"{problem}.*\({REMEDY}\)"):
            opened(path)
