"""The health of the server at an address: Pellucid's state, a foreign server, or no server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from pellucid.system.progress import Work

OWNER = "pellucid"
"""The owner of Pellucid's models in /v1/models."""

Json = Mapping[str, Any]


class HealthStatus(StrEnum):
    READY = "ready"
    LOADING = "loading"
    LEAVING = "leaving"
    FAILED = "failed"
    """The engine has failed, so the server answers no requests."""
    AWAY = "away"
    """No remote engine computes a certain model now; other models still answer."""
    REFUSED = "refused"
    """The server requires another API key."""
    FORBIDDEN = "forbidden"
    """The server refuses requests to this address."""
    FOREIGN = "foreign"
    """The server is not Pellucid."""
    SILENT = "silent"
    """The server accepts the connection but sends no HTTP reply in time."""
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """The health of a server: ``message`` is the obstacle, ``step`` the current loading step."""

    status: HealthStatus
    message: str = ""
    step: Work | None = None

    @property
    def answers(self) -> bool:
        return self.status not in (HealthStatus.ABSENT, HealthStatus.SILENT)


_REFUSALS: dict[int, HealthStatus] = {
    httpx.codes.UNAUTHORIZED: HealthStatus.REFUSED,
    httpx.codes.TOO_MANY_REQUESTS: HealthStatus.REFUSED,
    httpx.codes.FORBIDDEN: HealthStatus.FORBIDDEN,
}


_PROBLEMS: Mapping[HealthStatus, str] = {
    HealthStatus.LOADING: "The server at {url} is loading its models",
    HealthStatus.LEAVING: "The server at {url} is shutting down",
    HealthStatus.FAILED: "The server at {url} has failed and no longer answers requests",
    HealthStatus.AWAY: "No engine computes one of the models of the server at {url}",
    HealthStatus.REFUSED: "The server at {url} does not accept the API key",
    HealthStatus.FORBIDDEN: "The server at {url} does not accept requests to this address",
    HealthStatus.FOREIGN: "The server at {url} is not Pellucid",
    HealthStatus.SILENT: "The server at {url} does not respond",
    HealthStatus.ABSENT: "No server answers at {url}",
}


def problem_at(url: str, status: HealthStatus) -> str:
    """Return the obstacle as a sentence without a period; callers append the remedy."""
    return _PROBLEMS[status].format(url=url)


def health_of(response: httpx.Response) -> ServerHealth:
    reply = _object(response)
    if response.status_code == httpx.codes.OK:
        status = HealthStatus.READY if reply.get("status") == "ok" else HealthStatus.FOREIGN
        return ServerHealth(status, "", step_of(_part(_part(reply, "pellucid"), "loading")))
    message, details = _message_of(reply)
    if response.status_code in _REFUSALS:
        return ServerHealth(_REFUSALS[response.status_code], message)
    state = details.get("state")
    if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or state not in ("loading", "leaving", "failed", "away"):
        return ServerHealth(HealthStatus.FOREIGN)
    return ServerHealth(HealthStatus(state), message, step_of(details))


def step_of(details: Json) -> Work | None:
    activity = details.get("activity")
    return None if activity is None else Work(activity, details.get("done") or 0, details.get("total"))


def fault_in(listing: httpx.Response) -> ServerHealth | None:
    """Return the health if a reply to /v1/models shows an unusable server."""
    reply = _object(listing)
    if listing.status_code in _REFUSALS:
        return ServerHealth(_REFUSALS[listing.status_code], _message_of(reply)[0])
    models = reply.get("data")
    if listing.status_code != httpx.codes.OK or not isinstance(models, list) or not models:
        return ServerHealth(HealthStatus.FOREIGN)
    ours = all(isinstance(one, dict) and one.get("owned_by") == OWNER for one in models)
    return None if ours else ServerHealth(HealthStatus.FOREIGN)


def _message_of(reply: Json) -> tuple[str, Json]:
    """Return the message and details of an error, both empty for foreign servers."""
    error = _part(reply, "error")
    return str(error.get("message") or ""), _part(error, "pellucid")


def _part(reply: Json, name: str) -> Json:
    part = reply.get(name)
    return part if isinstance(part, dict) else {}


def _object(response: httpx.Response) -> Json:
    """Return the JSON object of a reply, or {} for a reply that Pellucid never sends."""
    try:
        value = json.loads(response.content)
    except ValueError:
        value = None
    return value if isinstance(value, dict) else {}
