"""Configuration of all tests: no personal settings, reproducible examples, forbidden skips."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TypeVar

import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling, Scheduling

from pellucid.cli.app import app
from pellucid.config import ENVIRONMENT_PREFIX

pytest_plugins = [
    "support.automatic_markers",
    "support.fleet.over_fleet",
    "support.editors.lsp_fixtures",
    "support.servers.real_model_server",
    "support.page.page_fixtures",
    "support.page.lone_page",
]

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True)
settings.register_profile("default", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=15, derandomize=True, database=None)
settings.load_profile("default")

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ROOT = Path(__file__).parents[1]

DURATIONS = Path(__file__).with_name("durations.json")
"""Seconds of each test file, as `make durations` has written them."""

SHARED_SERVERS = (
    ("tests/editors/", "tests/examples/", "tests/lsp/test_typing_session.py", "tests/server/test_readme.py"),
)
"""Beginnings of files that share a server with real models: a worker runs all of them.

Every start of the server costs the work of a dozen tests.
"""

KEPT = frozenset({ENVIRONMENT_PREFIX + "CACHE"})
"""The only setting from the environment: the models' folder."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--no-skips``."""
    parser.addoption("--no-skips", action="store_true", help="fail a test that would be skipped")


def pytest_configure(config: pytest.Config) -> None:
    """Remove the developer's settings before the import of test modules."""
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in KEPT:
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse two tests with the same id, because pytest-xdist would run only the last."""
    counts = Counter(item.nodeid for item in items)
    repeated = sorted(name for name, count in counts.items() if count > 1)
    if repeated:
        raise pytest.UsageError(f"Several tests have the same id: {', '.join(repeated)}.")
    seconds = json.loads(DURATIONS.read_text())
    # Workers take the slowest files first, so that no worker is late at the end.
    items.sort(key=lambda item: -seconds.get(item.path.relative_to(ROOT).as_posix(), 0.0))


class BySharedServer(LoadFileScheduling):  # type: ignore[misc]
    """Distribution of files to workers; files with a shared server stay together."""

    def _split_scope(self, nodeid: str) -> str:
        together = next((names for names in SHARED_SERVERS if nodeid.startswith(names)), None)
        return nodeid.partition("::")[0] if together is None else together[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    return BySharedServer(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure with ``--no-skips``, because on such machines all tests run."""
    report = yield
    return _forbid_skip(report, item)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module's skip into a failure."""
    report = yield
    return _forbid_skip(report, collector)


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, which would take a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Collect garbage after each module, so that an unclosed socket or file fails in its module."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()  # Modules that a test has imported would cost half a second at each further collection.


def _forbid_skip(report: Report, node: pytest.Item | pytest.Collector) -> Report:
    if report.skipped and not hasattr(report, "wasxfail") and node.config.getoption("--no-skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{node.nodeid} was skipped, which --no-skips forbids: {reason}"
    return report


@pytest.fixture(autouse=True)
def config_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty folder instead of the developer's folder with ``config.toml``."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setattr("pellucid.config.user_config_path", lambda _name: folder)
    return folder


@pytest.fixture
def sandbox_alone(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Wait until no test worker runs programs, because all processes share a user's limit."""
    with FileLock(tmp_path_factory.getbasetemp().parent / "sandbox.lock"):
        yield


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        found = listener.getsockname()[1]
    assert isinstance(found, int)
    return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process, and return exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            app([str(argument) for argument in arguments], prog_name="pellucid")
        code = left.value.code
        assert code is None or isinstance(code, int)
        return code or 0, *capsys.readouterr()

    return run
