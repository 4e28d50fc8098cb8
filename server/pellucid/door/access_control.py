"""Access control: programs and pages of this machine, and clients with a key.

Every web page in the user's browser can send requests to a server on loopback. Two headers identify
these requests, because a page cannot forge them. Host is the page's own site if an attacker's name
points at 127.0.0.1 (DNS rebinding). Origin is the site of the page.

The server's own page asks for the key once, and then recognizes users by a cookie. Browsers send
the cookie with requests of any page, so only the page itself may use its paths. Origins that are
allowed for the API are refused there, and changing requests need the page's own Origin.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from pellucid.client.address_settings import DEFAULT_PORTS
from pellucid.door.api_keys import LOCAL, Keys
from pellucid.door.error_replies import error_response
from pellucid.door.login_rate_limit import LoginRateLimit
from pellucid.door.request_body import UNKNOWN_SENDER_BYTES, BodyReader, admit
from pellucid.door.users import Users
from pellucid.errors import AuthenticationError, PellucidError, PermissionDeniedError

PUBLIC = frozenset({"/", "/health"})
"""Paths without a key."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""

OWNER = "pellucid.owner"
"""Scope key of the request's user: the owner of the API key."""

AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?")
"""A host with an optional port; no user, path, query, fragment or space."""


@dataclass(frozen=True, slots=True)
class Door:
    """Decides from the headers whether a request is allowed.

    ``host`` is the address that the server listens on, and ``allowed_hosts`` are further names of
    the server. Paths with a true ``is_page`` need no key here: the page checks the key (see
    ``PageFork``).
    """

    host: str
    keys: Keys | None = None
    allowed_origins: tuple[str, ...] = ()
    is_page: Callable[[str], bool] = lambda path: False
    rate_limit: LoginRateLimit = field(default_factory=LoginRateLimit)
    allowed_hosts: tuple[str, ...] = ()

    def check(self, scope: Scope) -> str | None:
        """Return the owner of the request's key (``None``: no key needed).

        Raises PermissionDeniedError, AuthenticationError or TooManyAttemptsError.
        """
        headers = Headers(scope=scope)
        self._check_host(headers.getlist("host"))
        if scope["type"] == "http" and self.is_page(scope["path"]):
            self._check_page(headers, scope)
            return None
        self._check_origin(headers, scope)
        if self.keys is None or scope["path"] in PUBLIC or _is_preflight(scope, headers):
            return None
        return owner_of_key(headers, self.keys, self.rate_limit, address_of(scope))

    def _check_host(self, hosts: list[str]) -> None:
        if len(hosts) != 1:
            raise PermissionDeniedError(f"The request has {len(hosts)} Host headers: send exactly one Host.")
        authority = AUTHORITY.fullmatch(hosts[0])
        if authority is None or not self._is_own(authority["host"].lower().strip("[]")):
            raise PermissionDeniedError(
                f"The Host {hosts[0]!r} does not name this server: use localhost, an IP address, "
                "or the host that the server was started with, or allow that name with --allowed-hosts."
            )

    def _check_origin(self, headers: Headers, scope: Scope) -> None:
        for origin in headers.getlist("origin"):
            if origin not in self.allowed_origins and not _is_own_origin(origin, headers["host"]):
                raise PermissionDeniedError(
                    f"Pages from {origin!r} may not use this server: allow that origin with --allowed-origins."
                )
        if (
            headers.get("sec-fetch-site") == "cross-site"
            and "origin" not in headers
            and not _is_navigation(scope, headers)
        ):
            raise PermissionDeniedError(
                "Other sites may use this server only with CORS: send an Origin that --allowed-origins allows."
            )

    def _check_page(self, headers: Headers, scope: Scope) -> None:
        """Allow only the page itself, and navigation to the page, to use the page's paths."""
        origins = headers.getlist("origin")
        foreign = next((origin for origin in origins if not _is_own_origin(origin, headers["host"])), None)
        if foreign is not None:
            raise PermissionDeniedError(f"Pages from {foreign!r} may not use this server's page: open the page itself.")
        if not origins and scope["method"] not in SAFE:
            raise PermissionDeniedError(
                "A request that changes something must come from the page itself: send the page's Origin header."
            )
        if (
            not origins
            and headers.get("sec-fetch-site") in ("cross-site", "same-site")
            and not _is_navigation(scope, headers)
        ):
            raise PermissionDeniedError("Other pages may not use this server's page: open the page itself.")

    def _is_own(self, name: str) -> bool:
        """Return whether a host name is this server's.

        Any IP address is accepted, as DNS rebinding needs a name.
        """
        return name in ("localhost", self.host.lower(), *self.allowed_hosts) or _is_address(name)


class Security:
    """ASGI middleware that checks requests by the door, and reads bodies up to ``max_body_bytes``.

    The key is checked before the body is read. The page reads its own requests' bodies.
    """

    def __init__(self, app: ASGIApp, door: Door, max_body_bytes: int) -> None:
        self._app = app
        self._door = door
        self._bodies = BodyReader(max_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            owner = self._door.check(scope)
            scope[OWNER] = owner or LOCAL
            if owner is not None:
                admit(scope, owner)
            if scope["type"] == "http" and not self._door.is_page(scope["path"]):
                is_unknown = self._door.keys is not None and owner is None
                receive = await self._bodies.receive(scope, receive, UNKNOWN_SENDER_BYTES if is_unknown else None)
                if self._door.keys is None:
                    admit(scope)
        except PellucidError as error:
            await _refuse(error, scope, receive, send)
            return
        await self._app(scope, receive, send)


class UserRequests:
    """ASGI middleware, inside of ``Security``, that counts API usage for the owners of keys.

    The page's own requests are counted by ``UserAssistant``, because answers outlast the requests.
    """

    def __init__(self, app: ASGIApp, users: Users, is_page: Callable[[str], bool]) -> None:
        self._app = app
        self._users = users
        self._is_page = is_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_page(scope["path"]):
            await self._app(scope, receive, send)
            return
        with self._users.request(scope[OWNER]):
            await self._app(scope, receive, send)


async def _refuse(error: PellucidError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})
        return
    await error_response(error, scope["path"])(scope, receive, send)


def owner_of_key(headers: Headers, keys: Keys, rate_limit: LoginRateLimit, address: str) -> str:
    """Return the owner of a request's key, or raise AuthenticationError or TooManyAttemptsError."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
    if given is None:
        raise AuthenticationError("This server needs an API key: send the header Authorization: Bearer KEY.")
    owner = rate_limit.owner_of(keys, given, address)
    if owner is None:
        raise AuthenticationError("The API key is wrong: send a key that this server accepts.")
    return owner


def address_of(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _is_own_origin(origin: str, host: str) -> bool:
    """Return whether a page's origin is the address of its request.

    A different name of loopback with the same port is a different origin, as a different user of
    the machine may listen there.
    """
    scheme, separator, authority = origin.lower().partition("://")
    source, target = AUTHORITY.fullmatch(authority), AUTHORITY.fullmatch(host.lower())
    if scheme not in DEFAULT_PORTS or not separator or source is None or target is None:
        return False
    port = str(DEFAULT_PORTS[scheme])
    return (source["host"], source["port"] or port) == (target["host"], target["port"] or port)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Return whether a request is a browser's preflight, without a key and before the app."""
    return scope.get("method") == "OPTIONS" and "access-control-request-method" in headers


def _is_navigation(scope: Scope, headers: Headers) -> bool:
    """Return whether the user followed a link, so that only the user sees the reply."""
    return (
        scope.get("method") == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )
