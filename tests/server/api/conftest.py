"""A server over tiny random models, shared by the tests without changes to the server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.engine.local_engine import LocalEngine
from support.servers.http_servers import TINY, LiveServer, live, tiny_adapters, tiny_assistant


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server of two tiny models with 4 slots, 256 tokens of context and an adapter."""
    assistant, engine = tiny_assistant()
    state = ServerState(models=(TINY,), grace=0.0)
    local = isinstance(engine, LocalEngine)
    state.open(assistant, engine, tiny_adapters(assistant, engine, tmp_path_factory.mktemp("cache")) if local else None)
    with live(state) as server:
        yield server
    engine.close()


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server with a context of 24 tokens, for short answers."""
    assistant, engine = tiny_assistant(context=24)
    state = ServerState(models=(TINY,), grace=0.0)
    local = isinstance(engine, LocalEngine)
    state.open(assistant, engine, tiny_adapters(assistant, engine, tmp_path_factory.mktemp("cache")) if local else None)
    with live(state) as server:
        yield server
    engine.close()


@pytest.fixture(scope="session")
def lone_server() -> Iterator[LiveServer]:
    """Run a server with a single tiny model, and a context with room for tools."""
    assistant, engine = tiny_assistant(context=512, alone=True)
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        yield server
    engine.close()


@pytest.fixture
def http(tiny_server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=tiny_server.url, timeout=60, trust_env=False) as client:
        yield client
