"""/metrics counts requests, generations and tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from pellucid.api.metrics import Metrics
from pellucid.api.server_state import ServerState
from pellucid.errors import QueueFullError
from support.servers.http_servers import TINY, ScriptedAssistant, live, live_scripted, live_tiny, spoken, tiny_assistant


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Return every sample by name and label values, sorted by label name."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_counts() -> None:
    """Requests are counted by route and status, generations by reason."""
    assistant = ScriptedAssistant([spoken("a"), spoken("b"), spoken("c")])
    with live_scripted(assistant) as server:
        server.http.post("/v1/completions", json={"prompt": "x"})
        server.http.post("/v1/completions", json={"prompt": "x", "stream": True})
        server.http.post("/v1/completions", json={})
        server.http.get("/v1/models/tiny")
        server.http.get("/a")
        server.http.get("/b")
        found = samples(server.http.get("/metrics").text)

    assert found["pellucid_requests_total", "/v1/completions", "200"] == 2
    assert found["pellucid_requests_total", "/v1/completions", "400"] == 1
    assert found["pellucid_requests_total", "/v1/models/{model:path}", "200"] == 1
    assert found["pellucid_requests_total", "unknown", "404"] == 2
    assert found["pellucid_generations_total", "tiny", "stop"] == 2
    assert found["pellucid_time_to_first_token_seconds_count", "tiny"] == 2
    assert found["pellucid_time_per_token_seconds_count", "tiny"] == 4
    assert [found[f"pellucid_{name}", "tiny"] for name in ("running", "waiting", "slots")] == [0, 0, 1]


def test_refused_requests_count() -> None:
    """Requests refused by the door or the queue are counted, too."""
    assistant = ScriptedAssistant([QueueFullError("Full.")])
    with live_scripted(assistant) as server:
        server.http.post("/v1/completions", json={"prompt": "x"})
        server.http.get("/metrics", headers={"host": "evil.example"})
        found = samples(server.http.get("/metrics").text)

    assert found["pellucid_requests_total", "/v1/completions", "429"] == 1
    assert found["pellucid_requests_total", "unknown", "403"] == 1


def test_tokens_are_the_engine_s() -> None:
    """Tokens are counted by the engine: cached, computed and generated."""
    with live_tiny() as server:
        for _ in range(2):
            server.http.post("/completion", json={"prompt": "0123456789", "n_predict": 4, "ignore_eos": True})
        found = samples(server.http.get("/metrics").text)

    assert [found["pellucid_tokens_total", kind, TINY] for kind in ("cached", "computed", "generated")] == [9, 11, 8]


def test_parked_prefixes_are_measured() -> None:
    """The bytes of parked prefixes and the limit are in /metrics and in /v1/models."""
    assistant, engine = tiny_assistant(slots=1)
    state = ServerState(models=(TINY,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        for letter in "ab":
            server.http.post("/completion", json={"prompt": letter * 40, "n_predict": 1, "ignore_eos": True})
        found = samples(server.http.get("/metrics").text)
        memory = server.http.get(f"/v1/models/{TINY}").json()["meta"]["memory"]

    status = engine.status(TINY)
    engine.close()
    assert status.parked_bytes == 40 * status.cache_limit // 256
    exported = [found[f"pellucid_{name}_bytes", TINY] for name in ("parked", "parked_limit")]
    assert exported == [memory["parked"], memory["parked_limit"]] == [status.parked_bytes, status.parked_limit]


@pytest.mark.parametrize(("reads", "timed"), [(False, (1, 1)), (True, (0, 0))])
def test_tokens_without_their_sampling_probability_are_timed(reads: bool, timed: tuple[int, int]) -> None:
    """Tokens of an answer are timed even without a sampling probability; read tokens are not."""
    metrics = Metrics()
    with metrics.timer(TINY, lambda: 0.0, reads=reads) as timer:
        for text in "ab":
            timer.note(replace(spoken(text), sampled=None))

    names = ("pellucid_time_to_first_token_seconds_count", "pellucid_time_per_token_seconds_count")
    assert tuple(metrics.registry.get_sample_value(name, {"model": TINY}) or 0 for name in names) == timed


def test_abandoned_answers_count() -> None:
    """An answer closed before the end is counted as cancelled."""
    metrics = Metrics()
    with metrics.timer(TINY, lambda: 0.0) as timer:
        timer.note(spoken("Hello"))

    assert metrics.registry.get_sample_value("pellucid_generations_total", {"model": TINY, "reason": "cancelled"}) == 1
