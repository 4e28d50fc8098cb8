"""Each user of a server with named keys has limits of requests and tokens, on all routes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.door.api_keys import read_keys
from pellucid.door.users import UserLimits, Users, current_request
from pellucid.engine.request import Admission, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import ConfigError, QueueFullError
from pellucid.serving import serve
from pellucid.vocabulary.finish import Finish
from support.servers.http_servers import TINY, live, live_tiny, tiny_assistant

KEYS = read_keys("anna:key-of-anna,ben:key-of-ben")
ANNA, BEN = ({"authorization": f"Bearer key-of-{name}"} for name in ("anna", "ben"))
LONG = {"prompt": "x", "max_tokens": 200, "ignore_eos": True, "stream": True, "logit_bias": {str(ord("a")): 100}}
SHORT = {"prompt": "0123456789", "max_tokens": 4, "ignore_eos": True}
MESSAGES = [{"role": "user", "content": "u"}]
GREEDY = {"num_predict": 4, "temperature": 0}
"""A drawn answer could be empty."""
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/completions": SHORT,
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": 4, "temperature": 0},
    "/v1/responses": {"input": "u", "max_output_tokens": 4, "temperature": 0},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 4, "temperature": 0, "model": TINY},
    "/v1/score": {"text": "abc"},
    "/v1/edits": {"selection": "a", "instruction": "b"},
    "/v1/embeddings": {"input": ["abc", "def", "ghi"]},
    "/completion": {"prompt": "abc", "n_predict": 4, "ignore_eos": True},
    "/infill": {"input_prefix": "abc", "input_suffix": "d", "n_predict": 4, "ignore_eos": True},
    "/v1/fim/completions": {"prompt": "abc", "suffix": "d", "max_tokens": 4, "model": TINY},
    "/api/generate": {"model": TINY, "prompt": "abc", "stream": False, "options": GREEDY},
    "/api/chat": {"model": TINY, "messages": MESSAGES, "stream": False, "options": GREEDY},
    "/api/embed": {"model": TINY, "input": "abc"},
}


@dataclass
class LimitedServer:
    """A server with two users, settable limits, and a settable clock."""

    http: httpx.Client
    state: ServerState
    now: float = 1000.0
    holds: bool = False

    def limit(self, requests: int | None = None, tokens_per_minute: int | None = None) -> None:
        """Forget the usage, and set other limits."""
        self.state.users._limits = UserLimits(requests, tokens_per_minute)
        self.state.users._states.clear()
        self.holds = False

    def running(self, user: str) -> int:
        """Return the number of a user's running requests."""
        return len(self.state.users.state(user).places)

    def wait_for(self, user: str, running: int) -> None:
        """Wait until a user has this number of running requests."""
        for _ in range(6000):
            if self.running(user) == running:
                return
            threading.Event().wait(0.01)
        raise AssertionError(self.running(user))


@pytest.fixture(scope="module")
def server() -> Iterator[LimitedServer]:
    """Run a server that pauses long answers while ``holds`` is true, unless superseded."""
    assistant, engine = tiny_assistant(alone=True)
    clock: list[LimitedServer] = []
    generate = engine.generate
    newest: dict[str | None, Request] = {}

    async def held(model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        key = request.terms.key
        newest[key] = request
        async with aclosing(generate(model, request)) as items:
            async for item in items:
                yield item
                is_long = request.params.max_tokens == LONG["max_tokens"] and isinstance(item, TokenScore)
                while clock[0].holds and is_long and (key is None or newest[key] is request):
                    await asyncio.sleep(0.01)

    engine.generate = held  # type: ignore[method-assign]
    users = Users(clock=lambda: clock[0].now)
    state = ServerState(models=(TINY,), grace=0.0, keys=KEYS, users=users)
    state.open(assistant, engine)
    with live(state) as running:
        clock.append(LimitedServer(running.http, state))
        yield clock[0]
    engine.close()


@pytest.mark.parametrize("route", ROUTES)
def test_every_route(server: LimitedServer, route: str) -> None:
    """Each route with a model counts for the key's owner, and only the owner is refused."""
    server.limit(tokens_per_minute=1)
    first = server.http.post(route, json=ROUTES[route], headers=ANNA)
    second = server.http.post(route, json=ROUTES[route], headers=ANNA)
    other = server.http.post(route, json=ROUTES[route], headers=BEN)

    assert (first.status_code, second.status_code, other.status_code) == (200, 429, 200), first.text
    assert (
        "anna has used 1 tokens within a minute, the limit of user_tokens_per_minute: try again in 61 seconds."
        in second.text
    )
    assert second.headers["retry-after"] == "61"
    totals = server.state.users.totals("anna")
    assert (totals.requests, totals.refused, totals.prompt > 0, totals.generated > 0) == (
        1,
        1,
        True,
        "score" not in route and "embed" not in route,
    )


def test_requests_at_once(server: LimitedServer) -> None:
    """A user's second request at once is refused, until the first client disconnects."""
    server.limit(requests=1)
    server.holds = True
    with server.http.stream("POST", "/v1/completions", json=LONG, headers=ANNA) as stream:
        lines = stream.iter_lines()  # Kept, since the connection closes with the iterator.
        next(lines)
        refused = server.http.post("/v1/completions", json=SHORT, headers=ANNA)
        assert server.http.post("/v1/completions", json=SHORT, headers=BEN).status_code == 200
        assert server.http.get("/v1/models", headers=ANNA).status_code == 200

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    sentence = "anna already has 1 requests that run or wait, the limit of user_requests: wait until one has ended."
    assert refused.json()["error"]["message"] == sentence
    server.wait_for("anna", 0)
    assert server.http.post("/v1/completions", json=SHORT, headers=ANNA).status_code == 200


def test_superseding_requests(server: LimitedServer) -> None:
    """A request takes the place of the superseded request, even if the older client reads on."""
    server.limit(requests=1)
    server.holds = True
    body = LONG | {"supersede": "file.py"}
    with server.http.stream("POST", "/v1/completions", json=body, headers=ANNA) as stream:
        lines = stream.iter_lines()
        next(lines)
        for _ in range(3):
            assert (
                server.http.post("/v1/completions", json=SHORT | {"supersede": "file.py"}, headers=ANNA).status_code
                == 200
            )
        server.wait_for("anna", 0)
        assert (
            server.http.post("/v1/completions", json=SHORT | {"supersede": "other.py"}, headers=ANNA).status_code == 200
        )
        assert "superseded" in "".join(lines)


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [({}, {"prompt": "x" * 2000}, 400), ({"n": 2}, {}, 200), ({}, {"supersede": "other.py"}, 429)],
    ids=["refused", "one of two answers", "another key"],
)
def test_what_still_runs_keeps_its_place(
    server: LimitedServer, first: dict[str, Any], second: dict[str, Any], status: int
) -> None:
    """A request keeps the place while any answer of the request runs."""
    server.limit(requests=1)
    server.holds = True
    key = {"supersede": "file.py"}
    with server.http.stream("POST", "/v1/completions", json=LONG | key | first, headers=ANNA) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert server.http.post("/v1/completions", json=SHORT | key | second, headers=ANNA).status_code == status
        assert server.http.post("/v1/completions", json=SHORT, headers=ANNA).status_code == 429
        assert server.running("anna") == 1


def test_one_request_of_many_answers(server: LimitedServer) -> None:
    """A request with many answers or texts takes a single place."""
    server.limit(requests=1)
    assert server.http.post("/v1/completions", json=SHORT | {"n": 4}, headers=ANNA).status_code == 200
    assert server.http.post("/v1/embeddings", json={"input": list("abcdefghij")}, headers=ANNA).status_code == 200
    assert server.state.users.totals("anna").requests == 2


def test_tokens(server: LimitedServer) -> None:
    """Uncached prompt tokens and generated tokens count, and are forgotten after a minute."""
    server.limit(tokens_per_minute=20)
    assert (
        server.http.post("/v1/completions", json=SHORT | {"prompt": "ABCDEFGHIJ"}, headers=ANNA).status_code == 200
    )  # 10 and 4 tokens.
    server.now += 30
    assert (
        server.http.post("/v1/completions", json=SHORT | {"prompt": "ABCDEFGHIJ"}, headers=ANNA).status_code == 200
    )  # 1 and 4 tokens.
    server.now += 0.25
    assert server.http.post("/v1/completions", json=SHORT | {"prompt": "ABCDEFGHIJ"}, headers=ANNA).status_code == 200
    refused = server.http.post("/v1/completions", json=SHORT, headers=ANNA)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "31")
    totals = server.state.users.totals("anna")
    assert (totals.cached, totals.computed, totals.generated) == (18, 12, 12)

    server.now += 31
    assert server.http.post("/v1/completions", json=SHORT, headers=ANNA).status_code == 200


def test_long_readings(server: LimitedServer) -> None:
    """A reading in windows counts every window, and is not ended halfway by the limit."""
    server.limit(requests=1, tokens_per_minute=100)
    text = "z" * 600
    answer = server.http.post("/v1/score", json={"text": text, "windows": True}, headers=ANNA)
    assert (answer.status_code, len(answer.json()["tokens"])) == (200, 600)
    usage = answer.json()["usage"]
    totals = server.state.users.totals("anna")
    assert (totals.requests, totals.prompt, totals.cached) == (
        1,
        usage["prompt_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
    )


@pytest.fixture
def users() -> Users:
    return Users(UserLimits(requests=2))


async def test_places(users: Users) -> None:
    """A request takes a place at the first use of a model, and keeps the place to the end."""

    async def use() -> None:
        current_request().begin()

    with users.request("anna"):
        await asyncio.gather(use(), use(), use())
        with users.request("anna"):
            await use()
            with users.request("anna"), pytest.raises(QueueFullError):
                await use()
        with users.request("anna"):
            await use()
    assert (users.totals("anna").requests, users.totals("anna").refused) == (3, 1)
    await use()  # A request without a user.
    assert users.names() == {"anna"}


@pytest.mark.parametrize("key", [None, "shared"])
@pytest.mark.parametrize("name", ["user_requests", "user_tokens_per_minute"])
def test_limits_need_named_keys(name: str, key: str | None) -> None:
    """Without named keys, a server with a limit of users does not start."""
    with pytest.raises(ConfigError) as raised:
        serve.run(load_settings(api_key=key, **{name: 5}))
    assert (
        str(raised.value)
        == f"{name} needs a key for each user, as in anna:KEY,ben:KEY: set such keys, or leave out {name}."
    )


def figures(http: httpx.Client, headers: dict[str, str]) -> dict[str, Any]:
    """Return a user's usage."""
    answer = http.get("/v1/usage", headers=headers).json()
    return {
        name: answer[name]
        for name in ("user", "requests", "refused", "prompt_tokens", "cached_tokens", "generated_tokens")
    }


def test_usage_of_each_user(server: LimitedServer) -> None:
    """Users see only their own figures; /metrics has the figures of all users with keys."""
    server.limit(requests=1, tokens_per_minute=20)
    for _ in range(2):
        server.http.post("/v1/completions", json=SHORT | {"prompt": "9876543210"}, headers=ANNA)
    server.http.post("/v1/completions", json=SHORT | {"prompt": "-" * 30}, headers=ANNA)
    counts = {"requests": 3, "refused": 0, "prompt_tokens": 50, "cached_tokens": 9, "generated_tokens": 12}
    refused = server.http.post("/v1/completions", json=SHORT, headers=ANNA)

    assert refused.status_code == 429
    assert figures(server.http, ANNA) == {"user": "anna", **counts, "refused": 1}
    assert figures(server.http, BEN) == {"user": "ben"} | dict.fromkeys(counts, 0)
    assert server.http.get("/v1/usage").status_code == 401
    families = {
        family.name: family for family in text_string_to_metric_families(server.http.get("/metrics", headers=BEN).text)
    }
    for name, value in (counts | {"refused": 1}).items():
        assert {one.labels["user"]: one.value for one in families[f"pellucid_user_{name}"].samples} == {
            "anna": value,
            "ben": 0,
        }


def test_usage_without_named_users() -> None:
    """A server without keys counts for the user local, and has no metrics by user."""
    with live_tiny() as server:
        server.http.post("/completion", json={"prompt": "0123456789", "n_predict": 4, "ignore_eos": True})
        found, metrics = figures(server.http, {}), server.http.get("/metrics").text

    assert found == {
        "user": "local",
        "requests": 1,
        "refused": 0,
        "prompt_tokens": 10,
        "cached_tokens": 0,
        "generated_tokens": 4,
    }
    assert 'user="' not in metrics
