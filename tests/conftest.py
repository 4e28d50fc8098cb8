"""What holds for all tests: no settings of the developer's own, examples that repeat, and skips that may be forbidden."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from pellucid.config import ENVIRONMENT_PREFIX

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("default", deadline=None)
settings.load_profile("default")

KEPT = frozenset({ENVIRONMENT_PREFIX + "CACHE"})
"""Settings that the tests take from the environment: where the models are."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-skips``."""
    parser.addoption("--no-skips", action="store_true", help="fail a test that would be skipped")


def pytest_configure(config: pytest.Config) -> None:
    """Forget the developer's own settings, before any test module is imported."""
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in KEPT:
            del os.environ[name]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With ``--no-skips`` a skip is a failure: on the machine that decides, everything runs."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--no-skips"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which --no-skips forbids: {call.excinfo.value if call.excinfo else ''}"
    return report


@pytest.fixture(autouse=True)
def config_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the one with the developer's ``config.toml``."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setattr("pellucid.config.user_config_path", lambda _name: folder)
    return folder
