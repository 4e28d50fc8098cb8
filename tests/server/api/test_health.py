"""/health reports the server's progress."""

from __future__ import annotations

import httpx
import pytest

from pellucid.api.app import create_app
from pellucid.api.schema.common import UnreadyReply
from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.system.api_keys import read_keys
from support.servers.http_servers import TINY, scripted_state


def client_of(state: ServerState, key: str | None = None) -> Client:
    """A real client of the real application, without a network between them."""
    return Client("http://127.0.0.1:8437", key, transport=httpx.ASGITransport(create_app(state)))


async def test_loading_says_how_far_it_is() -> None:
    """While models load, the client gets the current step and its bytes."""
    state = ServerState(models=(TINY,))
    async with client_of(state) as client:
        assert await client.server_health() == ServerHealth(HealthStatus.LOADING, "Loading model")
        state.progress.start("tiny.gguf", 400)
        state.progress.advance(100)
        assert await client.server_health() == ServerHealth(HealthStatus.LOADING, "Loading model", "tiny.gguf", 100, 400)
        state.progress.note("Another process is at work on tiny: waiting for it.")
        health = await client.server_health()

    assert (health.activity, health.percent) == ("Another process is at work on tiny: waiting for it.", None)


async def test_ready_leaving_and_failed_are_told_apart() -> None:
    """Each reason why a server does not answer has its own status, as the client's next step depends on it."""
    leaving = scripted_state()
    leaving.leaving = True
    for state, status in (
        (scripted_state(), HealthStatus.READY),
        (leaving, HealthStatus.LEAVING),
        (scripted_state(failure=RuntimeError("x")), HealthStatus.FAILED),
    ):
        async with client_of(state) as client:
            assert (await client.server_health()).status is status


@pytest.mark.parametrize("key", [None, "wrong"])
async def test_wrong_key_is_refused(key: str | None) -> None:
    """A wrong key is reported at once, also while models load, although /health itself needs none."""
    for state in (scripted_state(keys=read_keys("right")), ServerState(models=(TINY,), keys=read_keys("right"))):
        async with client_of(state, key) as client:
            found = await client.server_health()
            assert found.status is HealthStatus.REFUSED
            assert "API key" in found.message
    async with client_of(scripted_state(keys=read_keys("right")), "right") as client:
        assert (await client.server_health()).status is HealthStatus.READY


async def test_reply_has_its_documented_shape() -> None:
    """The reply of a server that is not ready fits the OpenAPI description."""
    state = ServerState(models=(TINY,))
    state.progress.start("tiny.gguf", None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(state)), base_url="http://localhost") as client:
        reply = (await client.get("/health")).json()

    assert reply["error"]["pellucid"] == {"state": "loading", "activity": "tiny.gguf", "done": 0}
    assert UnreadyReply.model_validate(reply).error.pellucid.activity == "tiny.gguf"
