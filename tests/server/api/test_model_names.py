"""Requests with the name of an unserved model."""

from __future__ import annotations

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.errors import NotFoundError
from pellucid.vocabulary.query import CompletionQuery, ScoreQuery
from support.servers.http_servers import TINY, TINY_PLAIN, LiveServer, live_tiny

REQUESTS = [
    ("/v1/completions", {"prompt": "x", "max_tokens": 1}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}),
    ("/infill", {"prompt": "x", "n_predict": 1}),
    ("/tokenize", {"content": "x"}),
]


@pytest.mark.parametrize(("route", "body"), REQUESTS)
def test_a_single_model_answers_to_every_name(lone_server: LiveServer, route: str, body: dict[str, object]) -> None:
    """A single model answers to any name, unless the request is strict."""
    reply, strict = (
        lone_server.http.post(route, json=body | {"model": "gpt-4o"} | more) for more in ({}, {"strict_model": True})
    )

    assert reply.status_code == 200
    assert reply.json().get("model", TINY) == TINY
    assert strict.status_code == 404
    assert strict.json()["error"]["message"] == f"There is no model 'gpt-4o' here; use one of: {TINY}."


def test_an_adapter_s_name_is_never_another_model(lone_server: LiveServer) -> None:
    """The name of an unloaded adapter is refused: the base would answer differently."""
    reply = lone_server.http.post("/v1/completions", json={"prompt": "x", "model": f"{TINY}:mine"})

    assert reply.status_code == 404


def test_several_models_answer_to_their_names_only(http: httpx.Client) -> None:
    """With several models, an unknown name is refused with the known names."""
    reply = http.post("/v1/completions", json={"prompt": "x", "model": "gpt-4o"})

    assert reply.status_code == 404
    assert reply.json()["error"]["message"] == f"There is no model 'gpt-4o' here; use one of: {TINY}, {TINY_PLAIN}."


def test_strict_server() -> None:
    """With the setting strict_model a single model answers only to the model's name."""
    state = ServerState(models=(TINY,), grace=0.0, strict_model=True)
    with live_tiny(state=state, alone=True) as server:
        assert server.http.post("/v1/completions", json={"prompt": "x", "model": "gpt-4o"}).status_code == 404


async def test_our_own_client_is_strict(lone_server: LiveServer) -> None:
    """Pellucid's client refuses an unknown name, like a local assistant."""
    async with Client(lone_server.url) as client:
        with pytest.raises(NotFoundError, match="There is no model 'gpt-4o'"):
            _ = [item async for item in client.complete(CompletionQuery("x", model="gpt-4o"))]
        with pytest.raises(NotFoundError, match="There is no model 'gpt-4o'"):
            _ = [item async for item in client.score(ScoreQuery("x", model="gpt-4o"))]
