"""Pictures are well-formed SVG, escape every text, and follow the reader's colour scheme."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.system.svg import Anchor, Mark, Picture, Scale, check_picture_path, write_picture

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>\"'&"


def drawn() -> Picture:
    picture = Picture(200, 100, HOSTILE, HOSTILE)
    picture.text(10, 20, HOSTILE, HOSTILE, Anchor.END)
    picture.bar(1, 2, 33.25, 4, "bar", radius=2, tooltip=HOSTILE)
    picture.line(0, 1, 2, 3, "line", stroke_width="2")
    picture.curve([(1, 2.26), (3, 4)], "line")
    picture.legend(0, 50, "dots", Mark.DOT, "dot")
    picture.legend(0, 60, "squares", Mark.SQUARE, "other")
    picture.legend(0, 70, "lines", Mark.LINE, "line")
    return picture


def only(root: Element, tag: str, kind: str) -> Element:
    (element,) = [element for element in root.iter(tag) if element.get("class") == kind]
    return element


def test_texts_stay_texts() -> None:
    """Titles, descriptions, labels, tooltips and classes cannot become markup."""
    root = ElementTree.fromstring(drawn().file())

    assert root.findtext(f"{SVG}title") == root.findtext(f"{SVG}desc") == HOSTILE
    assert only(root, f"{SVG}text", HOSTILE).text == HOSTILE
    assert only(root, f"{SVG}rect", "bar").findtext(f"{SVG}title") == HOSTILE


def test_shapes() -> None:
    """Shapes have coordinates rounded to a tenth of a pixel, and attributes under the SVG names."""
    root = ElementTree.fromstring(drawn().file())

    assert only(root, f"{SVG}text", HOSTILE).attrib == {"class": HOSTILE, "x": "10", "y": "20", "text-anchor": "end"}
    assert only(root, f"{SVG}rect", "bar").get("width") == "33.2"
    assert [element.get("stroke-width") for element in root.iter(f"{SVG}line")] == ["2", None]
    assert only(root, f"{SVG}polyline", "line").get("points") == "1,2.3 3,4"


def test_legend() -> None:
    """A legend entry has the mark to the left of the label, on the same height."""
    root = ElementTree.fromstring(drawn().file())
    labels = {element.text: element for element in root.iter(f"{SVG}text")}
    dot, square = only(root, f"{SVG}circle", "dot"), only(root, f"{SVG}rect", "other")

    assert float(dot.get("cx", "")) + float(dot.get("r", "")) < float(labels["dots"].get("x", ""))
    assert (
        float(square.get("y", "")) + float(square.get("height", "")) / 2
        == 60
        == float(labels["squares"].get("y", "")) - 4
    )
    assert "lines" in labels


def test_colours() -> None:
    """A file has light and dark colours and a background; an inline picture has no style."""
    file, inline = drawn().file(), drawn().inline(fill="currentColor")

    assert "prefers-color-scheme: dark" in file
    assert only(ElementTree.fromstring(file), f"{SVG}rect", "paper").get("width") == "200"
    assert "<style>" not in inline
    assert ElementTree.fromstring(inline).get("fill") == "currentColor"


def test_scale() -> None:
    """Values map to pixels linearly in either direction, and end at the ends of the scale."""
    up = Scale(-1, 3, 200, 100)

    assert [up.at(value) for value in (-1, 0, 3, 5, -2)] == [200, 175, 100, 100, 200]
    assert Scale(2, 2, 10, 20).at(2) == 10


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.png", "is not the name of an SVG file: use a name that ends in .svg."),
        ("no/a.svg", "is not a folder: create it, or choose another path."),
    ],
)
def test_path_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    """Another format and a missing folder are refused with a sentence."""
    with pytest.raises(InvalidRequestError, match=sentence):
        check_picture_path(tmp_path / name)


def test_write(tmp_path: Path) -> None:
    """The file holds the picture; a failed write raises an error with the system's reason."""
    write_picture(tmp_path / "a.svg", drawn())

    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == drawn().file()
    with pytest.raises(
        InvalidRequestError, match=r"cannot be written to .* \(Is a directory\): choose another path\.$"
    ):
        write_picture(tmp_path, drawn())
