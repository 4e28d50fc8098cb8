"""The markers of tests: what they follow from exists, and a test without any is fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.automatic_markers import FIXTURES, HELPERS, KINDS, helpers_of, kinds_of

TESTS = next(folder for folder in Path(__file__).parents if (folder / "conftest.py").exists())


def sources() -> Iterator[str]:
    for path in TESTS.rglob("*.py"):
        yield path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FIXTURES)
def test_fixtures_exist(name: str) -> None:
    """Every fixture that gives a marker is defined: one that was renamed would leave its tests without the marker."""
    assert any(f"def {name}(" in source for source in sources())


@pytest.mark.parametrize("name", HELPERS)
def test_helpers_exist(name: str) -> None:
    """Every module that gives a marker exists."""
    assert list(TESTS.rglob(f"{name}.py"))


def test_kinds_are_declared(pytestconfig: pytest.Config) -> None:
    """pyproject.toml declares each marker that keeps a test out of ``make check``, and the one of the others."""
    declared = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert {*KINDS, *FIXTURES.values(), *HELPERS.values(), "fast"} <= declared


def test_kinds_of_a_test() -> None:
    """Each fixture and each helper gives its marker; others give none."""
    assert kinds_of(["tmp_path", "tab", "browser_page", "page_server"], ["pathlib"]) == {"browser", "process"}
    assert kinds_of(["tmp_path"], ["pathlib", "neovim"]) == {"editor"}
    assert kinds_of(["tmp_path"], ["pathlib"]) == set()


def test_helpers_of_a_module() -> None:
    """A module uses those that it imports, and those of its functions and classes, in any package."""
    module = ModuleType("test_it")
    module.editor = ModuleType("support.neovim")  # type: ignore[attr-defined]
    module.Terminal = type("Terminal", (), {"__module__": "support.tmux"})  # type: ignore[attr-defined]
    module.text = "polling"  # type: ignore[attr-defined]
    assert helpers_of(module) == {"neovim", "tmux"}


def test_this_test_is_fast(request: pytest.FixtureRequest) -> None:
    """A test without one of the other markers is marked as fast."""
    assert {mark.name for mark in request.node.iter_markers()} == {"fast"}
