"""Tests of record files: a kill loses no whole record, and runs are never mixed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.suite_protocol import SuiteRecord
from pellucid.learn.evaluate.suite_records import SuiteRecordFile, read_records

MODEL, SETTINGS = {"name": "tiny"}, {"temperature": 0.0, "samples": (1,)}
FIRST, SECOND = SuiteRecord("a", "u", {"said": "é\ud800\n"}, {"computed": 3}), SuiteRecord("b", "u", {})


def opened(path: Path, model: dict[str, str] = MODEL, settings: dict[str, object] | None = None) -> SuiteRecordFile:
    return SuiteRecordFile(path, "suite", model, SETTINGS if settings is None else settings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file with two records."""
    path = tmp_path / "model" / "suite.jsonl"
    with opened(path) as file:
        file.append(FIRST)
        file.append(SECOND)
    return path


def test_resumed(path: Path) -> None:
    """Earlier records are read, and new records are appended."""
    third = SuiteRecord("c", "v", {})
    with opened(path) as file:
        assert list(file.records) == ["a", "b"]
        assert file.records["a"].usage == {"computed": 3}
        file.append(third)
    assert read_records(path)[1:] == [SECOND, third]


def test_last_one_counts(path: Path) -> None:
    """The later of two records of a question counts."""
    later = SuiteRecord("a", "another unit", {})
    with opened(path) as file:
        file.append(later)
    assert read_records(path) == [later, SECOND]
    with opened(path) as file:
        assert list(file.records.values()) == [later, SECOND]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_half_a_line(path: Path, cut: int) -> None:
    """A half-written line is dropped, and its question can be asked again."""
    path.write_bytes(path.read_bytes()[:-cut])
    with opened(path) as file:
        assert list(file.records) == ["a"]
        file.append(SECOND)
    assert [record.id for record in read_records(path)] == ["a", "b"]


def test_half_a_header(path: Path) -> None:
    """A file that was killed in its first line starts over."""
    path.write_bytes(path.read_bytes()[:10])
    with opened(path) as file:
        assert not file.records
        file.append(FIRST)
    assert len(read_records(path)) == 1


@pytest.mark.parametrize(
    ("model", "settings", "difference"),
    [
        ({"name": "other"}, None, 'model, name: "tiny" there, "other" here'),
        (MODEL, {"temperature": 0.8, "samples": [1]}, "settings, temperature: 0.0 there, 0.8 here"),
        (MODEL, {"temperature": 0.0}, "settings, samples: [1] there, nothing here"),
    ],
)
def test_another_run(path: Path, model: dict[str, str], settings: dict[str, object] | None, difference: str) -> None:
    """Records of a different model or of different settings are kept, and the error names both."""
    before = path.read_bytes()
    with pytest.raises(InvalidRequestError) as refused:
        opened(path, model, settings)
    assert (
        str(refused.value) == f"{path} contains the records of another run ({difference}): "
        "name another folder with --out, or delete that file."
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"id": "x"}', b'{"id": "x", "unit": "y", "facts": {}, "more": 1}'])
def test_damage(path: Path, line: bytes) -> None:
    """Damage anywhere but at the end is reported with its line."""
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, line, third, b""]))
    with pytest.raises(InvalidRequestError, match=r"^Line 2 of .*suite.jsonl is damaged: delete the file"):
        opened(path)
    assert second


def test_no_records(tmp_path: Path) -> None:
    """A file of a different kind has no records."""
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(InvalidRequestError, match="contains no records of an evaluation"):
        read_records(tmp_path / "x.jsonl")
