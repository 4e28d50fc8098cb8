"""The picture: well-formed, to scale, with a title, and nowhere outside itself."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pellucid.bench.figures import Figure, Unit
from pellucid.bench.plot import BARS, LABELS, MARGIN, check_path, draw, svg
from pellucid.errors import InvalidRequestError
from support.learn.bench_reports import FIGURES, report

SVG = "{http://www.w3.org/2000/svg}"


def parsed(**fields: object) -> Element:
    return ElementTree.fromstring(svg(report(**fields)))


def texts(picture: Element) -> list[str]:
    return [element.text or "" for element in picture.iter(f"{SVG}text")]


def lengths(picture: Element) -> list[float]:
    return [float(element.get("width", "")) / BARS for element in picture.iter(f"{SVG}rect") if element.get("class") == "bar"]


def test_what_it_says() -> None:
    """The picture has a title, the conditions, a name and a value for each bar, and says what a whole bar is."""
    picture = parsed()

    assert picture.findtext(f"{SVG}title") == "How fast Pellucid is: tiny"
    said = texts(picture)
    assert {"prefill, 512 tokens", "800 tok/s, 50% of 1,600 tok/s", "decode, a token", "32.0 ms", "start, importing", "1.50 s"} <= set(said)
    assert any("a whole bar is what the machine's floors allow" in text for text in said)
    assert said[-1].startswith("The machine reads memory at 20.0 GB/s and multiplies at 1,000 Gop/s.")


def test_bars_are_to_scale() -> None:
    """A rate's bar is its share of the limit, a wait's its share of the longest wait."""
    assert lengths(parsed()) == pytest.approx([800 / 1600, 31 / 40, 32 / 33, 1.0], abs=1e-3)


def test_without_limits() -> None:
    """Where no floor is known, rates are drawn beside each other, and nothing is said of a limit."""
    rates = (Figure.of("streams", "1 together", Unit.RATE, [10]), Figure.of("streams", "2 together", Unit.RATE, [20]))
    picture = parsed(figures=rates)

    assert lengths(picture) == [0.5, 1.0]
    assert {"Tokens a second", "10.0 tok/s", "20.0 tok/s"} <= set(texts(picture))
    assert texts(picture)[-1] == "Medians; the lines span the least and the greatest sample."


def test_beyond_the_limit() -> None:
    """A bar ends with its track, whatever a model or a machine says: its text tells the rest."""
    picture = parsed(figures=(*FIGURES[:2], Figure.of("decode", "one stream", Unit.RATE, [50, 90], limit=40)))

    assert lengths(picture) == [1.0]
    assert "70.0 tok/s, 175% of 40.0 tok/s" in texts(picture)
    (line,) = picture.iter(f"{SVG}line")
    assert float(line.get("x2", "")) <= MARGIN + LABELS + BARS


def test_names_are_text() -> None:
    """A model's name cannot become a part of the picture."""
    name = '<script>"&'

    assert parsed(model={"name": name, "description": name}).findtext(f"{SVG}title") == f"How fast Pellucid is: {name}"


def test_nothing_lies_outside() -> None:
    """Every text begins and every bar ends within the picture."""
    picture = parsed()
    width, height = (float(picture.get(side, "")) for side in ("width", "height"))

    for element in picture.iter():
        assert 0 <= float(element.get("x", 0)) + float(element.get("width", 0)) <= width
        assert 0 <= float(element.get("y", 0)) <= height


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.png", "is not the name of an SVG picture: let it end with .svg."),
        ("no/a.svg", "is no folder: make it, or write the picture elsewhere."),
    ],
)
def test_where_it_cannot_be_written(tmp_path: Path, name: str, sentence: str) -> None:
    """Another format, or a folder that is not there, is told in one sentence."""
    with pytest.raises(InvalidRequestError, match=sentence):
        check_path(tmp_path / name)


def test_file(tmp_path: Path) -> None:
    """The file holds the picture; one that cannot be written is told with the system's reason."""
    draw(report(), tmp_path / "a.svg")

    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == svg(report())
    with pytest.raises(InvalidRequestError, match=r"cannot be written to .*: Is a directory\.$"):
        draw(report(), tmp_path)
