"""Tests of the picture of loss curves: well-formed at any time, to scale, with words."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from pellucid.errors import ModelError
from pellucid.learn.train.checkpoint import LossPoint
from pellucid.learn.train.loss_curves import HEIGHT, LEFT, RIGHT, STYLES, TOP, WIDTH, draw, picture

SVG = "{http://www.w3.org/2000/svg}"
POINTS = [LossPoint(10, 5.0, 4.5), LossPoint(50, 3.0, 3.2), LossPoint(100, 2.0, 2.4)]


def parsed(points: list[LossPoint], baselines: dict[str, float]) -> Element:
    return ElementTree.fromstring(picture(points, 100, baselines).file())


def line(root: Element, part: str) -> list[tuple[float, float]]:
    (curve,) = [element for element in root.iter(f"{SVG}polyline") if element.get("class") == STYLES[part]]
    pairs = [pair.split(",") for pair in curve.get("points", "").split()]
    return [(float(x), float(y)) for x, y in pairs]


def test_curves_and_baselines_share_a_scale() -> None:
    """Points are at step and value, and a baseline of the same value is level with a point."""
    root = parsed(POINTS, {"ngram": 2.4})
    validation = line(root, "validation")
    assert [x for x, _ in validation] == pytest.approx(
        [LEFT + (WIDTH - LEFT - RIGHT) * step / 100 for step in (10, 50, 100)], abs=0.1
    )
    (baseline,) = [element for element in root.iter(f"{SVG}line") if element.get("class") == "line baseline"]
    assert float(baseline.get("y1", "")) == validation[-1][1]
    assert all(TOP <= y <= HEIGHT for _, y in (*validation, *line(root, "train")))
    # A lower point in a picture is a larger number.
    assert validation[0][1] < validation[1][1] < validation[2][1]


def test_texts() -> None:
    """Step, best and baselines are also in words, and the picture loads nothing."""
    source = picture(POINTS, 100, {"n<gram": 2.5}).file()
    shown = [element.text or "" for element in ElementTree.fromstring(source).iter(f"{SVG}text")]
    assert "step 100 of 100; validation 2.400, best 2.400 at step 100" in shown
    assert "n<gram, 2.500" in shown
    assert "prefers-color-scheme: dark" in source
    assert source.count("http") == 1


@pytest.mark.parametrize("baselines", [{}, {"ngram": 2.0}])
def test_before_the_first_point(baselines: dict[str, float]) -> None:
    """A picture can be drawn before the first point."""
    assert not list(parsed([], baselines).iter(f"{SVG}polyline"))


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """A missing folder is reported in one sentence."""
    draw(tmp_path / "curves.svg", POINTS, 100, {})
    assert (tmp_path / "curves.svg").read_text() == picture(POINTS, 100, {}).file()
    with pytest.raises(ModelError, match=r"cannot be written to \(No such file or directory\)"):
        draw(tmp_path / "gone" / "curves.svg", POINTS, 100, {})
