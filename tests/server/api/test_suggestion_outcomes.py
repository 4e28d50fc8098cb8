"""/v1/suggestions/outcomes counts shown and accepted suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from pellucid.api import metrics as metrics_module
from pellucid.api.metrics import UNKNOWN_MODEL, Metrics
from pellucid.api.server_state import ServerState
from pellucid.door.api_keys import read_keys
from pellucid.vocabulary.query import MAX_OUTCOMES
from support.servers.http_servers import TINY, live, live_scripted, scripted_state

ROUTE = "/v1/suggestions/outcomes"


def counted(metrics: Metrics, model: str = TINY) -> tuple[float | None, float | None]:
    """Return the numbers of shown and accepted suggestions of a model, if any."""
    names = (f"pellucid_suggestions_{name}_total" for name in ("shown", "accepted"))
    shown, accepted = (metrics.registry.get_sample_value(name, {"model": model}) for name in names)
    return shown, accepted


@pytest.fixture
def state() -> ServerState:
    return scripted_state()


@pytest.fixture
def http(state: ServerState) -> Iterator[httpx.Client]:
    with live(state) as server:
        yield server.http


def test_reports_add_up(http: httpx.Client, state: ServerState) -> None:
    """A served model begins with 0 for Prometheus, and reports add up."""
    assert counted(state.metrics) == (0, 0)
    reply = http.post(ROUTE, json={"model": TINY, "shown": 5, "accepted": 2})
    for body in ({"model": TINY, "shown": 1}, {"model": TINY, "accepted": 3}, {"model": TINY}):
        assert http.post(ROUTE, json=body).status_code == 200

    assert (reply.status_code, reply.json()) == (200, {"object": "suggestion.outcomes", "model": TINY, "counted": True})
    assert counted(state.metrics) == (6, 5)
    assert f'pellucid_suggestions_shown_total{{model="{TINY}"}} 6.0' in http.get("/metrics").text


def test_a_report_that_is_sent_again(http: httpx.Client, state: ServerState) -> None:
    """A report with the same id counts once, and the reply has `counted`."""
    replies = [
        http.post(ROUTE, json={"model": TINY, "shown": 1, "id": id}).json()["counted"] for id in ("a", "a", "b", "a")
    ]

    assert replies == [True, False, True, False]
    assert counted(state.metrics) == (2, 0)


def test_memory_for_reports_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latest reports are remembered."""
    monkeypatch.setattr(metrics_module, "MAX_REPORTS", 2)
    metrics = Metrics()

    assert [metrics.count_suggestions(TINY, shown=1, report=report) for report in ("a", "b", "c", "b", "a")] == [
        True,
        True,
        True,
        False,
        True,
    ]


def test_unknown_models(http: httpx.Client, state: ServerState) -> None:
    """Unserved and missing models share a label, so clients cannot add labels without limit."""
    bodies: list[dict[str, Any]] = [{"model": f"model-{number}", "shown": 1} for number in range(20)]
    replies = [
        http.post(ROUTE, json=body).json()["model"] for body in [*bodies, {"shown": 1}, {"model": "", "shown": 1}]
    ]

    assert set(replies) == {UNKNOWN_MODEL}
    assert counted(state.metrics, UNKNOWN_MODEL) == (22, 0)
    (family,) = (one for one in state.metrics.registry.collect() if one.name == "pellucid_suggestions_shown")
    assert {sample.labels["model"] for sample in family.samples} == {TINY, UNKNOWN_MODEL}


def test_wrong_reports(http: httpx.Client, state: ServerState) -> None:
    """Wrong numbers and texts are refused, and a wrong report counts nothing."""
    numbers = [(field, value) for field in ("shown", "accepted") for value in (-1, MAX_OUTCOMES + 1, 1.5, "1", True)]
    for field, value in [*numbers, ("id", "x" * 65), ("model", 7), ("text", "def f():")]:
        answer = http.post(ROUTE, json={"model": TINY, "shown": 1, "accepted": 1, field: value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), value
    assert counted(state.metrics) == (0, 0)


def test_the_largest_report(http: httpx.Client, state: ServerState) -> None:
    """The largest permitted numbers are accepted."""
    assert http.post(ROUTE, json={"model": TINY, "shown": MAX_OUTCOMES, "accepted": MAX_OUTCOMES}).status_code == 200
    assert counted(state.metrics) == (MAX_OUTCOMES, MAX_OUTCOMES)


def test_key() -> None:
    """The route needs the server's key."""
    with live_scripted(keys=read_keys("a-long-key")) as server:
        for headers, status in (({}, 401), ({"x-api-key": "no"}, 401), ({"x-api-key": "a-long-key"}, 200)):
            reply = server.http.post(ROUTE, json={"model": TINY, "shown": 1}, headers=headers)
            assert reply.status_code == status
        assert counted(server.state.metrics) == (1, 0)


def react(http: httpx.Client, kind: str, id: str = "cmpl-1", **more: Any) -> int:
    """Send the event of a Tabby plugin; return the status."""
    return http.post("/v1/events", json={"type": kind, "completion_id": id, "choice_index": 0, **more}).status_code


def test_events_of_tabby(http: httpx.Client, state: ServerState) -> None:
    """A suggestion counts once, even if shown or accepted several times."""
    events = [
        *(react(http, "view", view_id="a"), react(http, "view", view_id="b")),
        *(react(http, "select", select_kind="line"), react(http, "select"), react(http, "view", "cmpl-2")),
        react(http, "dismiss", "cmpl-2"),
    ]

    assert events == [204] * 6
    assert counted(state.metrics) == (2, 1)
