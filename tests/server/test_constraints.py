"""The tested versions: constraints.txt pins pyproject.toml's requirements, on every platform."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
LINES = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]
PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, LINES)}


def requirements() -> list[Requirement]:
    """Return the requirements of the project and of the extras, without references to extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    found = [Requirement(text) for texts in (project["dependencies"], *extras) for text in texts]
    return [requirement for requirement in found if requirement.name != project["name"]]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_requirements_are_pinned(requirement: Requirement) -> None:
    """Each requirement is pinned to a version in the range."""
    (specifier,) = PINS[canonicalize_name(requirement.name)].specifier
    assert specifier.operator == "=="
    assert requirement.specifier.contains(specifier.version)


def test_pins_hold_everywhere() -> None:
    """A pin has a single released version, no address, no local build and no package for CUDA."""
    assert len(PINS) == len(LINES)
    assert [line for line in LINES if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*(; .+)?", line)] == []
    assert [name for name in PINS if name.startswith(("cuda-", "nvidia-", "triton"))] == []
