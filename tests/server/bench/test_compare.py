"""A comparison separates changes from noise, lists differences, and rejects other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.bench.compare import Change, compare, read_report
from pellucid.bench.report import Figure, Unit
from pellucid.bench.report_tables import as_json
from pellucid.errors import InvalidRequestError
from support.bench_reports import figure, report


def change(unit: Unit, then: list[float], now: list[float]) -> Change:
    return Change("section", "row", unit, figure("row", unit, then), figure("row", unit, now))


@pytest.mark.parametrize(
    ("unit", "then", "now", "verdict"),
    [
        (Unit.RATE, [10, 11], [20, 22], "better"),
        (Unit.RATE, [20, 22], [10, 11], "worse"),
        (Unit.MILLISECONDS, [20, 22], [10, 11], "better"),
        (Unit.RATE, [10, 20], [19, 30], ""),  # The samples overlap.
        (Unit.RATE, [10, 20], [20, 30], ""),  # The samples touch.
        (Unit.SECONDS, [1], [2, 3], ""),  # A single sample of a time.
        (Unit.BYTES, [1000], [995], ""),  # Too small a change.
        (Unit.BYTES, [100], [90], "better"),  # Sizes have no noise.
    ],
)
def test_verdict(unit: Unit, then: list[float], now: list[float], verdict: str) -> None:
    """Higher is better for rates and lower for the rest, and only beyond noise."""
    assert change(unit, then, now).verdict == verdict


def test_ratio() -> None:
    """The ratio is the newer median divided by the older median; a median of 0 has no ratio."""
    assert change(Unit.RATE, [10, 20, 30], [30, 30, 40]).ratio == 1.5
    assert change(Unit.TOKENS, [0], [1]).ratio is None


def test_rows_of_one_side() -> None:
    """A row of a single report is shown as new or not measured."""
    then, now = report(figures=(figure("old", Unit.RATE, [1]),)), report(figures=(figure("young", Unit.RATE, [2]),))

    changes = compare("then.json", then, now).changes

    assert [(row.name, row.ratio, row.verdict) for row in changes] == [
        ("young", None, "new"),
        ("old", None, "not measured"),
    ]


def test_differences() -> None:
    """Every difference of machine, model, setup and versions is listed."""
    then = report()
    now = report(
        machine=then.machine | {"processor": "Apple M4"},
        model=then.model | {"name": "small"},
        setup=then.setup | {"threads": 8},
        versions={name: version for name, version in then.versions.items() if name != "torch"},
    )

    assert compare("then.json", then, now).differences == (
        "machine, processor: AMD EPYC then, Apple M4 now",
        "model, name: tiny then, small now",
        "setup, threads: 2 then, 8 now",
        "versions, torch: 2.13.0 then, unknown now",
    )
    assert compare("then.json", then, then).differences == ()


@pytest.mark.parametrize("compared", [False, True], ids=["alone", "with a comparison"])
def test_round_trip(tmp_path: Path, compared: bool) -> None:
    """The output of --json can be read again, with and without a comparison."""
    path = tmp_path / "report.json"
    saved = report(left_out=("A prompt.",), notes=("A note.",))
    path.write_text(as_json(saved, compare("older.json", saved, saved) if compared else None), encoding="utf-8")

    assert read_report(path) == saved


def test_json_of_a_comparison() -> None:
    """The JSON has then, now, ratio and verdict of every row."""
    faster = Figure.of("decode", "one stream", Unit.RATE, [62, 62, 64], limit=80)
    then = report()
    now = report(figures=tuple(faster if row.name == "one stream" else row for row in then.figures))

    written = json.loads(as_json(now, compare("then.json", then, now)))["comparison"]

    assert (written["file"], written["date"], written["differences"]) == ("then.json", then.date, [])
    row = next(row for row in written["rows"] if row["name"] == "one stream")
    expected = {
        "section": "decode",
        "name": "one stream",
        "unit": "tok/s",
        "then": 31,
        "now": 62,
        "ratio": 2,
        "verdict": "better",
    }
    assert row == expected


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\xff", "is not JSON ("),
        (b"{", "is not JSON ("),
        (b"[]", "is not a result of pellucid bench: give a file that pellucid bench --json wrote."),
        (b'{"kind": "coffee"}', "is not a result of pellucid bench: give a file that pellucid bench --json wrote."),
        (
            b'{"kind": "pellucid-bench", "format": 2}',
            "has format 2, but this version of Pellucid reads 1: measure again with this version.",
        ),
        (b'{"kind": "pellucid-bench", "format": 1}', "is damaged: date: field required."),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, sentence: str) -> None:
    """Any other file is rejected with a single sentence about the content."""
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(InvalidRequestError) as caught:
        read_report(path)

    assert str(caught.value).startswith(f"{path} {sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"fast"'])
def test_figures_that_are_no_numbers(tmp_path: Path, value: str) -> None:
    """A report with NaN, Infinity or text as a figure is damaged."""
    path = tmp_path / "a.json"
    path.write_text(as_json(report(), None).replace('"value": 31.0', f'"value": {value}'))

    with pytest.raises(InvalidRequestError, match=r"is damaged: figures\.3\.value: "):
        read_report(path)


def test_no_such_file(tmp_path: Path) -> None:
    """A missing file is named, with the system's reason."""
    with pytest.raises(InvalidRequestError, match=r"none\.json cannot be read: No such file or directory\.$"):
        read_report(tmp_path / "none.json")
