"""The tests' markers: fixtures and helpers exist, and a test without a marker is fast."""

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
    """Every fixture with a marker exists: a renamed fixture would lose the marker."""
    assert any(f"def {name}(" in source for source in sources())


@pytest.mark.parametrize("name", HELPERS)
def test_helpers_exist(name: str) -> None:
    """Every module with a marker exists."""
    assert list(TESTS.rglob(f"{name}.py"))


def test_kinds_are_declared(pytestconfig: pytest.Config) -> None:
    """pyproject.toml declares every marker, including fast."""
    declared = {line.partition(":")[0] for line in pytestconfig.getini("markers")}
    assert {*KINDS, *FIXTURES.values(), *HELPERS.values(), "fast"} <= declared


def test_kinds_of_a_test() -> None:
    """Fixtures and helpers with a marker give the marker; other names give no marker."""
    assert kinds_of(["tmp_path", "tab", "browser_page", "page_server"], ["pathlib"]) == {"browser", "process"}
    assert kinds_of(["tmp_path"], ["pathlib", "neovim"]) == {"editor"}
    assert kinds_of(["tmp_path"], ["pathlib"]) == set()


def test_helpers_of_a_module() -> None:
    """A module's helpers are the imported modules and the modules of functions and classes."""
    module = ModuleType("test_it")
    module.editor = ModuleType("support.neovim")  # type: ignore[attr-defined]
    module.Terminal = type("Terminal", (), {"__module__": "support.tmux"})  # type: ignore[attr-defined]
    module.text = "polling"  # type: ignore[attr-defined]
    assert helpers_of(module) == {"neovim", "tmux"}


def test_this_test_is_fast(request: pytest.FixtureRequest) -> None:
    """A test without a slower marker is marked as fast."""
    assert {mark.name for mark in request.node.iter_markers()} == {"fast"}
