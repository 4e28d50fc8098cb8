"""Reports have figures, comparisons and a picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pellucid.bench.compare import Change, compare, read_report
from pellucid.bench.plot import BARS, LABELS, MARGIN, picture
from pellucid.bench.report import Figure, Unit
from pellucid.bench.report_tables import as_json
from pellucid.errors import InvalidRequestError
from support.bench_reports import FIGURES, figure, report


def test_figure_of_samples() -> None:
    """A figure is the median of the samples, between the smallest and the largest sample."""
    figure = Figure.of("decode", "one stream", Unit.RATE, [30, 50, 31])

    assert (figure.value, figure.low, figure.high, figure.samples, figure.limit) == (31, 30, 50, 3, None)
    assert figure.reached is None


@pytest.mark.parametrize(
    ("unit", "value", "limit", "reached"),
    [(Unit.RATE, 30, 40, 0.75), (Unit.MILLISECONDS, 40, 30, 0.75), (Unit.RATE, 44, 40, 1.1)],
)
def test_how_much_of_the_limit_is_reached(unit: Unit, value: float, limit: float, reached: float) -> None:
    """A rate reaches the limit from below, a time from above, and larger values are shown."""
    assert Figure.of("s", "n", unit, [value], limit).reached == pytest.approx(reached)


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [
        (Unit.RATE, 1461.4, "1,461 tok/s"),
        (Unit.RATE, 43.21, "43.2 tok/s"),
        (Unit.MILLISECONDS, 7.949, "7.95 ms"),
        (Unit.SECONDS, 0.0, "0.00 s"),
        (Unit.BYTES, 632_838_632, "633 MB"),
        (Unit.READING, 20.6e9, "20.6 GB/s"),
        (Unit.MULTIPLYING, 0.68e12, "680 Gop/s"),
        (Unit.TOKENS, 1, "1.00 tokens"),
    ],
)
def test_values_for_people(unit: Unit, value: float, shown: str) -> None:
    """Values have three digits and a unit."""
    assert unit.show(value) == shown


@pytest.mark.parametrize(
    ("unit", "low", "high", "shown"),
    [
        (Unit.RATE, 544, 847, "544 - 847 tok/s"),
        (Unit.BYTES, 900e6, 1.2e9, "900 MB - 1.2 GB"),
        (Unit.READING, 16.5e9, 17e9, "16.5 - 17.0 GB/s"),
        (Unit.SECONDS, 2, 2, ""),
    ],
)
def test_ranges_for_people(unit: Unit, low: float, high: float, shown: str) -> None:
    """A shared unit appears once, and a point has no range."""
    assert unit.show_between(low, high) == shown


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


SVG = "{http://www.w3.org/2000/svg}"


def parsed(**fields: object) -> Element:
    return ElementTree.fromstring(picture(report(**fields)).file())


def texts(root: Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def lengths(root: Element) -> list[float]:
    return [
        float(element.get("width", "")) / BARS for element in root.iter(f"{SVG}rect") if element.get("class") == "bar"
    ]


def test_texts() -> None:
    """The picture has a title, conditions, a name and a value per bar, and explains a full bar."""
    root = parsed()

    assert root.findtext(f"{SVG}title") == "How fast Pellucid is: tiny"
    shown = texts(root)
    assert {
        "prefill, 512 tokens",
        "800 tok/s, 50% of 1,600 tok/s",
        "decode, a token",
        "32.0 ms",
        "start, importing",
        "1.50 s",
    } <= set(shown)
    assert any("a full bar is the machine's limit" in text for text in shown)
    assert shown[-1].startswith("The machine reads memory at 20.0 GB/s and multiplies at 1,000 Gop/s.")


def test_bars_are_to_scale() -> None:
    """A rate's bar is the share of the limit, a wait's bar the share of the longest wait."""
    assert lengths(parsed()) == pytest.approx([800 / 1600, 31 / 40, 32 / 33, 1.0], abs=1e-3)


def test_without_limits() -> None:
    """Without limits, rates are drawn relative to the largest rate."""
    rates = (Figure.of("streams", "1 together", Unit.RATE, [10]), Figure.of("streams", "2 together", Unit.RATE, [20]))
    root = parsed(figures=rates)

    assert lengths(root) == [0.5, 1.0]
    assert {"Tokens per second", "10.0 tok/s", "20.0 tok/s"} <= set(texts(root))
    assert texts(root)[-1] == "Bars are medians; thin lines span the smallest and the largest sample."


def test_beyond_the_limit() -> None:
    """A bar never exceeds the track; the text shows a value above the limit."""
    root = parsed(figures=(*FIGURES[:2], Figure.of("decode", "one stream", Unit.RATE, [50, 90], limit=40)))

    assert lengths(root) == [1.0]
    assert "70.0 tok/s, 175% of 40.0 tok/s" in texts(root)
    (line,) = root.iter(f"{SVG}line")
    assert float(line.get("x2", "")) <= MARGIN + LABELS + BARS


def test_names_are_text() -> None:
    """A model's name cannot become markup."""
    name = '<script>"&'

    assert parsed(model={"name": name, "description": name}).findtext(f"{SVG}title") == f"How fast Pellucid is: {name}"


def test_nothing_lies_outside() -> None:
    """Every text begins and every bar ends within the picture."""
    root = parsed()
    width, height = (float(root.get(side, "")) for side in ("width", "height"))

    for element in root.iter():
        assert 0 <= float(element.get("x", 0)) + float(element.get("width", 0)) <= width
        assert 0 <= float(element.get("y", 0)) <= height
