"""A client of the openai package for the tiny server."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from support.servers.http_servers import LiveServer


@pytest.fixture
def client(tiny_server: LiveServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client
