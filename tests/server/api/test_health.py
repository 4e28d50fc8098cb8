"""/health reports the server's progress."""

from __future__ import annotations

import httpx
import pytest

from pellucid.api.schema.info import Health, UnreadyReply
from pellucid.api.server_state import ServerState
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.door.api_keys import read_keys
from pellucid.fleet.admission import Gate
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import JoinCheck
from pellucid.fleet.membership import Membership, ReplicaLimits
from pellucid.fleet.replica import Replica
from pellucid.system.progress import Work
from support.servers.http_servers import TINY, application, scripted_state


def client_of(state: ServerState, key: str | None = None) -> Client:
    """Return a real client of the real application, without a network."""
    return Client("http://127.0.0.1:8437", key, transport=httpx.ASGITransport(application(state)))


async def test_loading_says_how_far_it_is() -> None:
    """During loading, the client gets the current step and the bytes."""
    state = ServerState(models=(TINY,))
    async with client_of(state) as client:
        assert await client.server_health() == ServerHealth(HealthStatus.LOADING, "Loading model")
        state.progress.start("tiny.gguf", 400)
        state.progress.advance(100)
        expected = ServerHealth(HealthStatus.LOADING, "Loading model", Work("tiny.gguf", 100, 400))
        assert await client.server_health() == expected
        state.progress.note("Another process is at work on tiny: waiting for it.")
        health = await client.server_health()

    assert health.step == Work("Another process is at work on tiny: waiting for it.")


async def test_ready_leaving_and_failed_are_told_apart() -> None:
    """A ready, a closing and a failed server have different statuses."""
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
    """A wrong key is reported at once, also during loading."""
    for state in (scripted_state(keys=read_keys("right")), ServerState(models=(TINY,), keys=read_keys("right"))):
        async with client_of(state, key) as client:
            found = await client.server_health()
            assert found.status is HealthStatus.REFUSED
            assert "API key" in found.message
    async with client_of(scripted_state(keys=read_keys("right")), "right") as client:
        assert (await client.server_health()).status is HealthStatus.READY


READY, AWAY = "http://10.0.0.5:8000", "http://10.0.0.6:8000"


def front_state(key: str | None = None) -> ServerState:
    """Return the state of a server with two remote engines, one of the two away."""
    fleet = Fleet({TINY: 300}, 512)
    for url, problem in ((READY, None), (AWAY, "It has been lost.")):
        fleet.replicas[url] = Replica(url, Gate(4, 4), "secret", version="0.32.0", models={TINY: 512}, problem=problem)
    state = scripted_state(keys=None if key is None else read_keys(key))
    state.open(state.require_ready(), fleet, None, Membership(fleet, JoinCheck({}, {}), ReplicaLimits(4, 4), []))
    return state


async def reply_of(state: ServerState, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(state)), base_url="http://localhost"
    ) as client:
        return await client.get(path, headers=headers)


async def test_engines_elsewhere() -> None:
    """A server is ready with a single ready engine, and reports all engines with the problems."""
    state = front_state()
    reply = await reply_of(state, "/health")
    health = Health.model_validate(reply.json())
    assert reply.status_code == 200
    assert health.pellucid is not None
    assert health.pellucid.engines is not None
    engines = health.pellucid.engines
    assert (engines.ready, engines.total, reply.json()["pellucid"]["engines"]["data"]) == (
        1,
        2,
        (await reply_of(state, "/v1/engines")).json()["data"],
    )
    assert [(one.id, one.state, one.problem) for one in engines.data or ()] == [
        (READY, "ready", None),
        (AWAY, "away", "It has been lost."),
    ]
    (card,) = (await reply_of(state, "/v1/models")).json()["data"]
    assert card["meta"]["engines"] == [READY]


async def test_no_engine_for_a_model() -> None:
    """A server without an engine for the model is not ready, but lists the model."""
    state = front_state()
    for replica in state._membership.replicas() if state._membership else ():
        replica.problem = "It has been lost."
    reply = await reply_of(state, "/health")
    details = UnreadyReply.model_validate(reply.json()).error
    assert (reply.status_code, details.pellucid.state) == (503, "away")
    assert f"No engine computes {TINY} now" in details.message
    assert details.pellucid.engines is not None
    assert (details.pellucid.engines.ready, details.pellucid.engines.total) == (0, 2)
    (card,) = (await reply_of(state, "/v1/models")).json()["data"]
    assert (card["meta"]["state"], card["meta"]["engines"]) == ("ready", [])
    async with client_of(state) as client:
        assert (await client.server_health()).status is HealthStatus.AWAY
        assert len(await client.cards()) == 1


async def test_addresses_are_not_for_everyone() -> None:
    """With keys, /health has only the number of engines; routes with a key have the addresses."""
    state = front_state("right")
    for key in (None, "right", "wrong"):
        health = await reply_of(state, "/health", {} if key is None else {"authorization": f"Bearer {key}"})
        assert health.json() == {"status": "ok", "pellucid": {"engines": {"ready": 1, "total": 2}}}
    for path in ("/v1/engines", "/v1/models"):
        refused, told = await reply_of(state, path), await reply_of(state, path, {"authorization": "Bearer right"})
        assert (refused.status_code, READY in refused.text) == (401, False)
        assert (told.status_code, READY in told.text, "secret" in told.text) == (200, True, False)


async def test_reply_has_its_documented_shape() -> None:
    """The reply of a loading server fits the OpenAPI description."""
    state = ServerState(models=(TINY,))
    state.progress.start("tiny.gguf", None)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(state)), base_url="http://localhost"
    ) as client:
        reply = (await client.get("/health")).json()

    assert reply["error"]["pellucid"] == {"state": "loading", "activity": "tiny.gguf", "done": 0}
    assert UnreadyReply.model_validate(reply).error.pellucid.activity == "tiny.gguf"
