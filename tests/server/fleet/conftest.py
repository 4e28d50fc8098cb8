"""Fixtures: the engine behind the replicas of a module, and an engine with other weights."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pellucid.engine.local_engine import LocalEngine
from support.fleet.fleet_servers import tiny_engine


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    found = tiny_engine()
    yield found
    found.close()


@pytest.fixture(scope="module")
def other() -> Iterator[LocalEngine]:
    found = tiny_engine(seed=1)
    yield found
    found.close()
