"""Restriction of Gradio to the page's calls, in sessions bound to owners.

Gradio treats an object with the key ``path`` anywhere in a call as a file of the server, and
accepts any ``session_hash`` as the caller's identity. The page never sends paths, and several users
may share a server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import Receive, Scope

from pellucid.door.error_replies import MethodError
from pellucid.door.request_body import replayed
from pellucid.errors import InvalidRequestError, NotFoundError

API = "/gradio_api/"
JOIN, DATA = API + "queue/join", API + "queue/data"

HEARTBEAT = API + "heartbeat/"
"""Paths to which an open page keeps a connection."""

CALLS = frozenset({JOIN, DATA, API + "info", API + "app_id"})
"""The calls that the page makes.

The rest of Gradio's API bypasses the queue, serves files, fetches addresses or reveals internals.
"""

RELOAD = "reload the page"


def check_call(path: str, method: str) -> None:
    """Raise NotFoundError or MethodError for requests that the page does not make."""
    if path.startswith(API) and path not in CALLS and not path.startswith(HEARTBEAT):
        raise NotFoundError(f"There is no {path} here.")
    if method not in (("POST",) if path == JOIN else ("GET", "HEAD")):
        raise MethodError(f"{path} does not support {method}.")


@dataclass(frozen=True, slots=True)
class GradioRequest:
    """A request for Gradio; ``tab`` is the session, ``call`` the body of a call."""

    scope: Scope
    receive: Receive
    tab: str | None = None
    call: Mapping[str, Any] | None = None

    @property
    def stops(self) -> bool:
        event = None if self.call is None else self.call.get("event_data")
        return isinstance(event, dict) and event.get("verb") == "stop"


async def with_owner_session(request: Request, owner: str) -> GradioRequest:
    """Replace the session of a request by a session of this owner alone.

    Raises InvalidRequestError for a call without session, or with a file's path.
    """
    scope = request.scope
    if scope["path"] == JOIN:
        call = _call(await request.body())
        tab = call["session_hash"] = _session_of(owner, call.get("session_hash"))
        body = json.dumps(call, separators=(",", ":")).encode()  # Gradio must read exactly the checked call.
        scope = {**scope, "headers": list(scope["headers"])}
        MutableHeaders(scope=scope)["content-length"] = str(len(body))
        return GradioRequest(scope, replayed(body, request.receive), tab, call)
    if scope["path"] == DATA:
        session = _session_of(owner, request.query_params.get("session_hash"))
        return GradioRequest(
            {**scope, "query_string": urlencode({"session_hash": session}).encode()}, request.receive, session
        )
    if scope["path"].startswith(HEARTBEAT):
        session = _session_of(owner, scope["path"].removeprefix(HEARTBEAT))
        path = HEARTBEAT + session
        return GradioRequest({**scope, "path": path, "raw_path": path.encode()}, request.receive, session)
    return GradioRequest(scope, request.receive)


def _call(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
        call = json.loads(text)
        if not isinstance(call, dict):
            raise InvalidRequestError(f"A call of the page must be a JSON object: {RELOAD}.")
        if _has_path(call):
            raise InvalidRequestError(
                f"The page accepts the content of a file, not a path: {RELOAD} and choose the file there."
            )
        if "\\ud" in text.lower():
            json.dumps(call, ensure_ascii=False).encode()
        return call
    except UnicodeEncodeError:
        raise InvalidRequestError("The text contains half a character (a lone surrogate): remove it.") from None
    except (ValueError, RecursionError):
        raise InvalidRequestError(f"A call of the page must be JSON without deep nesting: {RELOAD}.") from None


def _has_path(data: Any) -> bool:
    """Return whether any object has the key ``path``, as all Gradio files do."""
    pending = [data]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "path" in value:
                return True
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def _session_of(owner: str, name: object) -> str:
    """Return a session name that depends on the owner and the ``session_hash``."""
    if not isinstance(name, str) or not name:
        raise InvalidRequestError(f"A call of the page must name its session: {RELOAD}.")
    return sha256(f"{owner}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()
