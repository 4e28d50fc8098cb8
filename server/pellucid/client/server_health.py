"""What is found at the address of a server: ready, loading, leaving, another's, or nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from pellucid.errors import AuthenticationError, PermissionDeniedError, TooManyAttemptsError, UnavailableError

OWNER = "pellucid"
"""Who owns the models of our servers, as /v1/models says."""

Json = Mapping[str, Any]


class HealthStatus(StrEnum):
    """What is found at the address of a server."""

    READY = "ready"
    LOADING = "loading"
    LEAVING = "leaving"
    FAILED = "failed"
    """Its engine has died: it serves nothing any more."""
    REFUSED = "refused"
    """It wants another API key."""
    FORBIDDEN = "forbidden"
    """It lets nobody in by this address."""
    FOREIGN = "foreign"
    """Another server than Pellucid's."""
    SILENT = "silent"
    """The connection is taken, but no answer comes: a server that hangs or dies, or no HTTP."""
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """What a server says of itself: ``message`` is why it is not ready, ``activity`` what it is at while it loads.

    ``done`` and ``total`` are in bytes.
    """

    standing: HealthStatus
    message: str = ""
    activity: str | None = None
    done: int = 0
    total: int | None = None

    @property
    def percent(self) -> int | None:
        """How much of the activity is done, where that is known."""
        return None if not self.total else min(100, max(0, 100 * self.done // self.total))


_REFUSALS = {
    AuthenticationError.status: HealthStatus.REFUSED,
    TooManyAttemptsError.status: HealthStatus.REFUSED,
    PermissionDeniedError.status: HealthStatus.FORBIDDEN,
}


_PROBLEMS: Mapping[HealthStatus, str] = {
    HealthStatus.LOADING: "The server at {url} is loading its models",
    HealthStatus.LEAVING: "The server at {url} is shutting down",
    HealthStatus.FAILED: "The server at {url} has failed and answers no more requests",
    HealthStatus.REFUSED: "The server at {url} does not accept the API key",
    HealthStatus.FORBIDDEN: "The server at {url} does not accept requests to this address",
    HealthStatus.FOREIGN: "The server at {url} is not Pellucid",
    HealthStatus.SILENT: "The server at {url} does not respond",
    HealthStatus.ABSENT: "No server answers at {url}",
}


def problem_at(url: str, status: HealthStatus) -> str:
    """Return what keeps a server from answering requests, as a sentence without a full stop, to which callers add the remedy."""
    return _PROBLEMS[status].format(url=url)


def condition_of(response: httpx.Response) -> ServerHealth:
    """What a reply to /health says."""
    reply = _object(response)
    if response.status_code == httpx.codes.OK:
        return ServerHealth(HealthStatus.READY if reply.get("status") == "ok" else HealthStatus.FOREIGN)
    message, details = _message_of(reply)
    if response.status_code in _REFUSALS:
        return ServerHealth(_REFUSALS[response.status_code], message)
    state = details.get("state")
    if response.status_code != UnavailableError.status or state not in ("loading", "leaving", "failed"):
        return ServerHealth(HealthStatus.FOREIGN)
    return ServerHealth(HealthStatus(state), message, details.get("activity"), details.get("done") or 0, details.get("total"))


def objection_in(listing: httpx.Response) -> ServerHealth | None:
    """What a reply to /v1/models says against the server, if anything."""
    reply = _object(listing)
    if listing.status_code in _REFUSALS:
        return ServerHealth(_REFUSALS[listing.status_code], _message_of(reply)[0])
    models = reply.get("data")
    if listing.status_code != httpx.codes.OK or not isinstance(models, list) or not models:
        return ServerHealth(HealthStatus.FOREIGN)
    ours = all(isinstance(one, dict) and one.get("owned_by") == OWNER for one in models)
    return None if ours else ServerHealth(HealthStatus.FOREIGN)


def _message_of(reply: Json) -> tuple[str, Json]:
    """The sentence of an error and what our server says besides; both are empty in the errors of others."""
    error = reply.get("error")
    if not isinstance(error, dict):
        return "", {}
    details = error.get("pellucid")
    return str(error.get("message") or ""), details if isinstance(details, dict) else {}


def _object(response: httpx.Response) -> Json:
    """The JSON object of a reply; an empty one for any other reply, which none of ours is."""
    try:
        found = json.loads(response.content)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}
