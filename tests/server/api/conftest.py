"""A server over tiny random models, shared by the tests without changes to the server."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.servers.http_servers import LiveServer, live_tiny


@pytest.fixture(scope="session")
def tiny_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server of two tiny models with 4 slots, 256 tokens of context and an adapter."""
    with live_tiny(tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server with a context of 24 tokens, for short answers."""
    with live_tiny(tmp_path_factory.mktemp("cache"), context=24) as server:
        yield server


@pytest.fixture(scope="session")
def lone_server() -> Iterator[LiveServer]:
    """Run a server with a single tiny model, and a context with room for tools."""
    with live_tiny(context=512, alone=True) as server:
        yield server


@pytest.fixture
def http(tiny_server: LiveServer) -> httpx.Client:
    return tiny_server.http
