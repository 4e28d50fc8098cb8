"""Tests that the page's routes answer malformed bodies and keep working."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from pellucid.door.api_keys import read_keys
from pellucid.door.login_rate_limit import LoginRateLimit
from support.page.small_page_server import PagedServer, paged
from support.servers.body_mutations import damaged, mutations
from support.servers.http_servers import scripted_state
from support.trial_counts import trial_count

SEED = 13
FORM = "application/x-www-form-urlencoded"
COUNT = trial_count(200)
"""Mutations for each route."""

CALL: dict[str, Any] = {"verb": "answer", "text": "hi", "files": [{"name": "a.txt", "data": "eA=="}], "after": 3}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    """Start a page with a login without a rate limit."""
    limit = LoginRateLimit(lambda: 0.0)
    limit.wait = lambda address: 0.0  # type: ignore[method-assign]
    state = scripted_state(keys=read_keys("anna:key-of-anna"), max_body_bytes=200_000, login_rate_limit=limit)
    with paged(tmp_path_factory.mktemp("data"), state=state) as server:
        assert server.http.post("/login", data={"key": "key-of-anna"}).status_code == 303
        server.wait()
        yield server


def test_calls(locked: PagedServer) -> None:
    """No mutated request to a route gives a 5xx response, and the page works afterwards."""
    for body in mutations(CALL, Random(SEED), COUNT):
        answer = locked.http.post("/page/answer", content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (body, answer.text)
    assert locked.call("whose") == {"owner": "anna"}


def test_forms(locked: PagedServer) -> None:
    """No mutated form gives a 5xx response, and the page works afterwards."""
    random = Random(SEED)
    with httpx.Client(
        base_url=locked.server.url, timeout=60, trust_env=False, headers={"origin": locked.server.url}
    ) as http:
        for path in ("/login", "/sessions", "/logout") * COUNT:
            body = damaged(b"key=wrong&name=pellucid&key=%ED%A0%80", random)
            named = random.choice(
                (FORM, FORM, FORM, "text/plain", "application/json", "multipart/form-data; boundary=b")
            )
            answer = http.post(path, content=body, headers={"content-type": named})
            assert answer.status_code < 500, (body, answer.text)
    assert locked.call("whose") == {"owner": "anna"}
