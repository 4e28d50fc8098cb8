"""A report's picture is well-formed, to scale and within the edges, and has a title."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pellucid.bench.plot import BARS, LABELS, MARGIN, draw, picture
from pellucid.bench.report import Figure, Unit
from support.bench_reports import FIGURES, report

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


def test_file(tmp_path: Path) -> None:
    """The file holds the picture."""
    draw(report(), tmp_path / "a.svg")

    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == picture(report()).file()
