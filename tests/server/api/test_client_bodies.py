"""Requests of real clients, with the expected replies, in client_bodies.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.servers.http_servers import LiveServer

REQUESTS = json.loads(Path(__file__).with_name("client_bodies.json").read_text())


@pytest.mark.parametrize("sent", REQUESTS, ids=[sent["client"] for sent in REQUESTS])
def test_client(lone_server: LiveServer, sent: dict[str, Any]) -> None:
    """The request is answered with the ignored fields, or refused with the name of the field."""
    reply = lone_server.http.post(sent["route"], json=sent["body"])

    assert reply.status_code == sent["status"], reply.text
    if reply.status_code == 400:
        assert reply.json()["error"]["param"] == sent["param"]
    if reply.status_code == 200:
        assert ignored(reply) == sent.get("ignored", [])


def ignored(reply: httpx.Response) -> list[str]:
    """Return the fields listed as ignored in a reply or in the first event of a stream.

    Only line feeds end the lines: ``splitlines`` would also split at other characters in a random
    answer.
    """
    if reply.headers["content-type"].startswith("text/event-stream"):
        events = [
            json.loads(line.removeprefix("data: ")) for line in reply.text.split("\n") if line.startswith("data: {")
        ]
        # In streams of /v1/responses and /v1/messages the first event holds the reply so far.
        events[0] = events[0].get("response") or events[0].get("message") or events[0]
        first, *others = [event.get("pellucid", {}).get("ignored", []) for event in events]
        assert not any(others)
        return list(first)
    value = reply.json()
    return list((value[0] if isinstance(value, list) else value).get("pellucid", {}).get("ignored", []))
