"""The picture of the curves: well-formed at any time, to scale, and with what was found in words."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pellucid.errors import ModelError
from pellucid.learn.train.checkpoint import LossPoint
from pellucid.learn.train.curves import HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw, svg

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [LossPoint(10, 5.0, 4.5), LossPoint(50, 3.0, 3.2), LossPoint(100, 2.0, 2.4)]


def parsed(points: list[LossPoint], baselines: dict[str, float]) -> Element:
    return ElementTree.fromstring(svg(points, 100, baselines))


def line(picture: Element, kind: str) -> list[tuple[float, float]]:
    (found,) = [element for element in picture.iter(f"{SVG}polyline") if element.get("class") == f"line {kind}"]
    pairs = [pair.split(",") for pair in found.get("points", "").split()]
    return [(float(x), float(y)) for x, y in pairs]


def test_curves_and_baselines_share_a_scale() -> None:
    """Points stand where their step and value belong, and a baseline of the same value is level with them."""
    picture = parsed(POINTS, {"ngram": 2.4})
    validation = line(picture, "validation")
    assert [x for x, _ in validation] == pytest.approx([LEFT + (WIDTH - LEFT - RIGHT) * step / 100 for step in (10, 50, 100)], abs=0.1)
    (baseline,) = [element for element in picture.iter(f"{SVG}line") if element.get("class") == "line baseline"]
    assert float(baseline.get("y1", "")) == validation[-1][1]
    assert all(TOP <= y <= HEIGHT for _, y in (*validation, *line(picture, "train")))
    assert validation[0][1] < validation[1][1] < validation[2][1]  # downwards in a picture is a larger number


def test_what_it_says() -> None:
    """Step, best and baselines are there in words too, escaped; both schemes of colours are in it, and nothing from elsewhere."""
    source = svg(POINTS, 100, {"n<gram": 2.5})
    said = [element.text or "" for element in ElementTree.fromstring(source).iter(f"{SVG}text")]
    assert "step 100 of 100; validation 2.400, best 2.400 at step 100" in said
    assert "n<gram, 2.500" in said
    assert "prefers-color-scheme: dark" in source
    assert source.count("http") == 1


@pytest.mark.parametrize("baselines", [{}, {"ngram": 2.0}])
def test_before_the_first_point(baselines: dict[str, float]) -> None:
    """With nothing found yet there is a picture all the same."""
    assert not list(parsed([], baselines).iter(f"{SVG}polyline"))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A picture that cannot be written is one sentence."""
    draw(tmp_path / "curves.svg", POINTS, 100, {})
    assert (tmp_path / "curves.svg").read_text() == svg(POINTS, 100, {})
    with pytest.raises(ModelError, match=r"could not be written to \(No such file or directory\)"):
        draw(tmp_path / "gone" / "curves.svg", POINTS, 100, {})
