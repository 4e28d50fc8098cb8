"""Whatever is wrong with a body, the page's routes answer and serve on, those that Gradio answers included."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import httpx
import pytest

from body_mutations import damaged, mutations
from page_served import ANSWER, OWNER, PagedServer, paged
from pellucid.keys import read_keys
from pellucid.login_rate_limit import LoginRateLimit
from served import scripted_state

SEED = 13
FORM = "application/x-www-form-urlencoded"
COUNT = 50
"""Of each route."""

JOIN: dict[str, Any] = {"fn_index": ANSWER, "data": ["hi"], "session_hash": "m1", "event_data": None, "trigger_id": 3}
BODIES: dict[str, dict[str, Any]] = {
    "queue/join": JOIN,
    "cancel": {"session_hash": "m1", "fn_index": ANSWER, "event_id": "e1"},
    "reset": {"event_id": "e1"},
}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    """A page behind a lock that nobody is kept out of for guessing."""
    limit = LoginRateLimit(lambda: 0.0)
    limit.wait = lambda address: 0.0  # type: ignore[method-assign]
    state = scripted_state(keys=read_keys("anna:key-of-anna"), max_body_bytes=200_000, login_rate_limit=limit)
    with paged(tmp_path_factory.mktemp("data"), state=state) as server:
        assert server.http.post("/login", data={"key": "key-of-anna"}).status_code == 303
        server.wait()
        yield server


@pytest.mark.parametrize("call", BODIES)
def test_json_bodies(call: str, locked: PagedServer) -> None:
    """No mutated body of what the page asks of Gradio is answered 5xx, and the page works after that."""
    for body in mutations(BODIES[call], Random(f"{SEED} {call}"), COUNT):
        answer = locked.http.post(f"/gradio_api/{call}", content=body, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (body, answer.text)
    assert locked.call(OWNER, session="after") == ["anna"]


@pytest.mark.parametrize(("path", "kind"), [("/gradio_api/upload", "multipart/form-data; boundary=b"), ("/login", FORM), ("/logout", FORM)])
def test_other_bodies(path: str, kind: str, locked: PagedServer) -> None:
    """The same of uploads and forms."""
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--\r\n'
    random = Random(f"{SEED} {path}")
    with httpx.Client(base_url=locked.server.url, timeout=60, trust_env=False, headers={"origin": locked.server.url}) as http:
        http.cookies.update(locked.http.cookies if path != "/logout" else None)
        for _ in range(COUNT):
            body = damaged(part if path == "/gradio_api/upload" else b"key=wrong&name=pellucid&key=%ED%A0%80", random)
            answer = http.post(
                path, content=body, headers={"content-type": random.choice((kind, kind, kind, "text/plain", "application/json"))}
            )
            assert answer.status_code < 500, (body, answer.text)
    assert locked.call(OWNER, session="after") == ["anna"]
