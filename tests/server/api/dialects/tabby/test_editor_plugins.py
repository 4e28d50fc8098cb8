"""The requests of Tabby's editor plugins get the expected fields."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pellucid.api.idle_exit import Idleness
from pellucid.vocabulary.query import Extra
from support.servers.http_servers import TINY, TINY_PLAIN, ScriptedAssistant, live_scripted

SNIPPETS = {
    "declarations": [{"filepath": "a.py", "body": "A"}],
    "relevant_snippets_from_changed_files": [
        {"filepath": "b.py", "body": "B", "score": 2.5},
        {"filepath": "c.py", "body": "C", "score": 1},
    ],
    "relevant_snippets_from_recently_opened_files": [{"filepath": "d.py", "body": "D", "score": 0.5}],
}
AGENT: dict[str, Any] = {
    "language": "python",
    "segments": {
        "prefix": "def f():\n    x = g(",
        "suffix": ")\n",
        "filepath": "e.py",
        "clipboard": "secret",
        **SNIPPETS,
    },
    "user": "u",
    "temperature": 0.1,
}


def asked(body: dict[str, Any]) -> dict[str, Any]:
    """Return the query of a body."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        answer = server.http.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return assistant.calls[0]


def test_completion(http: httpx.Client) -> None:
    """A body with segments is answered in Tabby's shape, a body without segments in OpenAI's."""
    reply = http.post("/v1/completions", json=AGENT).json()
    other = http.post("/v1/completions", json={"prompt": "x", "max_tokens": 1}).json()

    assert [set(choice) for choice in reply["choices"]] == [{"index", "text"}]
    assert reply["id"].startswith("cmpl-")
    assert reply["pellucid"] == {
        "model": TINY,
        "ignored": ["language", "segments.clipboard", "segments.filepath", "user"],
    }
    assert other["object"] == "text_completion"


def test_pieces_of_other_files() -> None:
    """Snippets are texts of other files, the most relevant last; the clipboard is not read."""
    query = asked(AGENT)

    assert query["extra"] == [Extra("d.py", "D"), Extra("c.py", "C"), Extra("b.py", "B"), Extra("a.py", "A")]
    assert "secret" not in str(query)


def test_a_model_without_a_token_for_files(http: httpx.Client) -> None:
    """A model without a token for files lists snippets as ignored."""
    reply = http.post("/v1/completions", json=AGENT | {"model": TINY_PLAIN}).json()

    assert {f"segments.{name}" for name in SNIPPETS} < set(reply["pellucid"]["ignored"])


@pytest.mark.parametrize(
    ("suffix", "stops"),
    [("", ("\n\n", "\n\r\n")), (")\n", ("\n\n", "\n\r\n")), (" + 1\n", ("\n",)), ("\r\nx", ("\n\n", "\n\r\n"))],
)
def test_where_a_suggestion_ends(suffix: str, stops: tuple[str, ...]) -> None:
    """A suggestion ends before a blank line, or with the line if code follows the cursor."""
    assert asked({"segments": {"prefix": "x = ", "suffix": suffix}})["stop"] == stops


@pytest.mark.model
def test_real_model_stays_in_its_block(served_model: str) -> None:
    """The real model completes a method's body, and does not begin the next method."""
    prefix = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n        "
    with httpx.Client(base_url=served_model, timeout=60, trust_env=False) as client:
        body = {"language": "python", "segments": {"prefix": prefix, "suffix": "\n\nprint(Stack())\n"}}
        text = client.post("/v1/completions", json=body).json()["choices"][0]["text"]

    assert text.startswith("self.items.append(item)")
    assert "def " not in text


def test_indentation_ends_a_suggestion(http: httpx.Client) -> None:
    """No line of a suggestion has less indentation than the cursor's line."""
    for seed in range(8):
        segments = {"prefix": "if x:\n        y = ", "suffix": ""}
        text = http.post("/v1/completions", json={"segments": segments, "temperature": 5, "seed": seed}).json()[
            "choices"
        ][0]["text"]
        assert all(line.startswith(" " * 8) or not line.strip() for line in text.split("\n")[1:])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_health(method: str, http: httpx.Client) -> None:
    """The health names the model and the machine, and does not count as a request."""
    health = http.request(method, "/v1/health").json()

    assert (health["model"], health["device"], health["cuda_devices"]) == (TINY, "cpu", [])
    assert health["cpu_count"] >= 1
    assert {"build_date", "build_timestamp", "git_sha", "git_describe"} == set(health["version"])
    assert health["version"]["git_describe"].startswith(
        "v0.9.0 "
    )  # For older servers the plugins do not request the setting below.
    assert not Idleness().counts("/v1/health")


def test_events(http: httpx.Client) -> None:
    """Events are accepted and checked."""
    event = {
        "type": "select",
        "completion_id": "cmpl-1",
        "choice_index": 0,
        "view_id": "v",
        "elapsed": 900,
        "select_kind": "line",
    }

    assert http.post("/v1/events", json=event, params={"select_kind": "line"}).status_code == 204
    wrong = http.post("/v1/events", json=event | {"type": "cheer"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "type")


def test_server_setting(http: httpx.Client) -> None:
    """The server's settings tell clients to send no telemetry."""
    assert http.get("/v1beta/server_setting").json() == {"disable_client_side_telemetry": True}


@pytest.mark.parametrize(
    ("segments", "param"),
    [({"suffix": "x"}, "segments.prefix"), ({"prefix": 1}, "segments.prefix"), ({"prefix": "", "x": 1}, "segments.x")],
)
def test_wrong_segments(segments: dict[str, Any], param: str, http: httpx.Client) -> None:
    """An error names the wrong field in the segments."""
    answer = http.post("/v1/completions", json={"segments": segments})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
