"""Markers that follow from a test's fixtures, and from helpers in the test's module.

A slow test, or a test that starts a process, has the marker ``slow`` or ``process`` in the source.
A test without any marker of ``KINDS`` is ``fast`` and part of ``make check``, even with HTTP
servers in the test's process.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import FunctionType, ModuleType

import pytest

FIXTURES = {
    "browser_page": "browser",
    "built": "process",  # Compiles the native kernels.
    "lone_page": "browser",
    "page_server": "process",
    "served_model": "process",
    "story_server": "server",
}
"""Fixtures, and the marker of the fixtures' tests."""

HELPERS = {
    "fleet_servers": "server",
    "http_servers": "server",
    "neovim": "editor",
    "small_page_server": "server",
    "tmux": "editor",
    "vim": "editor",
}
"""Modules of helpers, and the marker of tests that import the helpers."""

KINDS = frozenset({"browser", "editor", "gpu", "model", "process", "slow"})
"""Markers of tests that are not fast."""

MODEL_TIMEOUT = 900
"""Seconds for a test with a real model, including a download and packing."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests, before ``-m`` selects tests."""
    for item in items:
        if isinstance(item, pytest.Function):
            for kind in sorted(kinds_of(item.fixturenames, helpers_of(item.module))):
                item.add_marker(kind)
        if item.get_closest_marker("model") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(MODEL_TIMEOUT))
        if not KINDS & {mark.name for mark in item.iter_markers()}:
            item.add_marker("fast")


@cache
def helpers_of(module: ModuleType) -> frozenset[str]:
    """Return the base names of modules that a module imports, fully or in parts."""
    values = vars(module).values()
    imported = {value.__name__ for value in values if isinstance(value, ModuleType)}
    sources = {value.__module__ for value in values if isinstance(value, (FunctionType, type))}
    return frozenset(name.rpartition(".")[2] for name in imported | sources)


def kinds_of(fixtures: Iterable[str], helpers: Iterable[str]) -> set[str]:
    """Return the markers of a test with these fixtures in a module with these helpers."""
    return {FIXTURES[name] for name in fixtures if name in FIXTURES} | {
        HELPERS[name] for name in helpers if name in HELPERS
    }
