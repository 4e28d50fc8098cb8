"""Local programs and pages and clients with the key are allowed; other sites' pages are not."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Scope

from pellucid.api.app import create_app
from pellucid.api.server_state import ServerState
from pellucid.config import load_settings
from pellucid.door.access_control import Door, Security
from pellucid.door.api_keys import read_keys
from pellucid.errors import AuthenticationError, ConfigError, PellucidError, PermissionDeniedError
from support.servers.http_servers import TINY, LiveServer, application, live_scripted, scripted_state

PORT = 8437
KEY = "a-long-key"
KEYS = read_keys(KEY)


def scope(path: str = "/infill", method: str = "POST", kind: str = "http", **headers: str) -> Scope:
    named = {"host": f"127.0.0.1:{PORT}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    return {"type": kind, "method": method, "path": path, "headers": raw, "server": ("127.0.0.1", PORT)}


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8437", "127.0.0.1:8437", "[::1]:8437", "192.168.0.7:8437", "box.lan:8437"]
)
def test_own_hosts(host: str) -> None:
    """Loopback names, IP addresses (safe from rebinding) and the own host are accepted."""
    Door("box.lan").check(scope(host=host))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8437", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "a@b"),
        *("localhost#", "evil.example#@localhost", "evil.example@localhost", "localhost#@evil.example", "localhost/"),
        *("localhost?", "localhost/@evil.example", "localhost\\@evil.example", "localhost?.evil.example"),
        *("user@localhost", "user:password@localhost:8437", "@localhost", "localhost:", "localhost:80:8437"),
        *("localhost:http", "localhost:-1", "localhost:+80", "localhost:100000", "localhost:\xb2"),
        *("localhost,evil.example", "localhost;evil.example", "localhost%00.evil.example", "%6cocalhost"),
        *("http://localhost", "//localhost", "::1", "[::1]]", "[[::1]]", "[::1%eth0]", "[localhost]", "[]", ":8437"),
        *("127.1", "2130706433", "0x7f.0.0.1", "localhost.", "\xff", "", " localhost", "localhost ", "local host"),
        *("localhost\t", "localhost\n"),
    ],
)
def test_foreign_hosts(host: str) -> None:
    """Any other Host is refused, against DNS rebinding."""
    with pytest.raises(PermissionDeniedError):
        Door("127.0.0.1").check(scope(host=host))


def test_one_host() -> None:
    """A request without a Host or with two Hosts is refused."""
    for headers in ([], [(b"host", b"localhost"), (b"host", b"evil.example")]):
        with pytest.raises(PermissionDeniedError, match="exactly one Host"):
            Door("127.0.0.1").check({**scope(), "headers": headers})


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"[::1]:{PORT}", "localhost"])
def test_own_origins(host: str) -> None:
    """Pages of the server's address and of allowed origins may send requests."""
    for origin in (f"http://{host}", f"HTTP://{host.upper()}", f"https://{host}", "https://ide.example"):
        Door("127.0.0.1", allowed_origins=("https://ide.example",)).check(scope(host=host, origin=origin))


@pytest.mark.parametrize("other", ["localhost", "127.0.0.2", "[::1]"])
def test_other_names_of_loopback(other: str) -> None:
    """Another loopback address with the same port is foreign: another user may listen there."""
    headers = {"host": f"127.0.0.1:{PORT}", "origin": f"http://{other}:{PORT}"}
    with pytest.raises(PermissionDeniedError, match="may not use this server"):
        Door("127.0.0.1").check(scope(**headers))
    with pytest.raises(PermissionDeniedError, match="may not use this server's page"):
        page_door().check(scope("/page/data", "POST", **headers))


@pytest.mark.parametrize(
    "origin",
    [
        *(
            *("null", "", "https://evil.example", "http://localhost:3000", "http://localhost"),
            f"http://192.168.0.7:{PORT}",
        ),
        *(f"http://evil.example:{PORT}", "https://ide.example.evil.example", "http://[", f"file://127.0.0.1:{PORT}"),
        *(f"http://evil.example#@127.0.0.1:{PORT}", f"http://evil.example@127.0.0.1:{PORT}"),
        *(f"http://user@localhost:{PORT}", f"http://localhost:{PORT}/", f"http://localhost:{PORT}#"),
        *(f"http://localhost:{PORT}?evil.example", f"http://localhost:{PORT} ", f" http://localhost:{PORT}"),
        *(f"http:localhost:{PORT}", f"//localhost:{PORT}", f"localhost:{PORT}", f"http:///localhost:{PORT}"),
        *(f"http://localhost:{PORT},http://evil.example", f"http://localhost:{PORT} http://evil.example"),
        f"http://http://localhost:{PORT}",
    ],
)
def test_foreign_origins(origin: str) -> None:
    """Pages of all other origins are refused, even on another port of this machine."""
    with pytest.raises(PermissionDeniedError):
        Door("127.0.0.1", allowed_origins=("https://ide.example",)).check(scope(origin=origin))


def test_cross_site_without_origin() -> None:
    """A cross-site subresource without an Origin is refused; a followed link is not."""
    door = Door("127.0.0.1")
    with pytest.raises(PermissionDeniedError):
        door.check(scope(method="GET", sec_fetch_site="cross-site", sec_fetch_mode="no-cors"))
    door.check(scope(method="GET", sec_fetch_site="same-origin", sec_fetch_mode="cors"))
    door.check(scope(method="GET", sec_fetch_site="cross-site", sec_fetch_mode="navigate", sec_fetch_dest="document"))


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY} "}, {"x_api_key": KEY}]
)
def test_right_key(headers: dict[str, str]) -> None:
    """The key comes as a Bearer token or as X-Api-Key."""
    Door("127.0.0.1", KEYS).check(scope(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"authorization": "Bearer wrong"}, {"authorization": KEY}, {"authorization": f"Basic {KEY}"}),
        *({"x_api_key": ""}, {"x_api_key": "é"}),
    ],
)
def test_wrong_key(headers: dict[str, str]) -> None:
    """A request without the key, with a wrong key or with another scheme is refused."""
    with pytest.raises(AuthenticationError):
        Door("127.0.0.1", KEYS).check(scope(**headers))


def test_public_paths() -> None:
    """/health and the front page need no key, but refuse foreign pages."""
    door = Door("127.0.0.1", KEYS)
    door.check(scope("/health", "GET"))
    door.check(scope("/", "GET"))
    with pytest.raises(PermissionDeniedError):
        door.check(scope("/health", "GET", origin="https://evil.example"))


@pytest.fixture(scope="module")
def guarded() -> Iterator[LiveServer]:
    """Run a server with a key, an allowed origin and a body limit of 2000 bytes."""
    with live_scripted(keys=KEYS, allowed_origins=("https://ide.example",), max_body_bytes=2000) as server:
        yield server


def test_statuses(guarded: LiveServer) -> None:
    """Over HTTP, a missing key is 401 and a foreign host or page 403, in the usual shape."""
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=60) as client:
        cases: list[tuple[dict[str, str], int, str]] = [
            ({}, 401, "authentication_error"),
            ({"authorization": "Bearer no"}, 401, "authentication_error"),
            ({"authorization": f"Bearer {KEY}", "host": "evil.example"}, 403, "permission_error"),
            ({"authorization": f"Bearer {KEY}", "origin": "https://evil.example"}, 403, "permission_error"),
        ]
        for headers, status, kind in cases:
            response = client.post("/v1/completions", json={"prompt": "x"}, headers=headers)
            assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
        assert client.get("/nowhere").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.post("/v1/completions", json={"prompt": "x"}, headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            ("GET", path)
            for path in ("/api/version", "/api/tags", "/api/ps", "/models", "/v1/health", "/v1beta/server_setting")
        ),
        *(
            ("POST", path)
            for path in ("/api/generate", "/api/chat", "/api/show", "/v1/fim/completions", "/v1/health", "/v1/events")
        ),
    ],
)
def test_routes_for_other_clients_are_guarded(method: str, path: str, guarded: LiveServer) -> None:
    """The routes of ollama, Mistral and Tabby need the key and refuse foreign pages."""
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=60) as client:
        keyless = client.request(method, path)
        foreign = client.request(
            method, path, headers={"authorization": f"Bearer {KEY}", "origin": "https://evil.example"}
        )

    assert (keyless.status_code, foreign.status_code) == (401, 403)
    for answer in (keyless, foreign):
        assert isinstance(answer.json()["error"], str) == path.startswith("/api/")


def test_allowed_origin_gets_cors(guarded: LiveServer) -> None:
    """A page of an allowed origin gets CORS headers; by default CORS is off."""
    origin = {"origin": "https://ide.example"}
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=60) as client:
        preflight = client.options("/v1/completions", headers=origin | {"access-control-request-method": "POST"})
        answer = client.post("/v1/completions", json={"prompt": "x"}, headers=origin | {"x-api-key": KEY})
    with live_scripted() as plain:
        bare = plain.http.post("/v1/completions", json={"prompt": "x"}, headers={"origin": plain.url})

    assert preflight.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://ide.example"
    assert bare.status_code == 200
    assert not [name for name in bare.headers if name.startswith("access-control")]


def test_body_limit(guarded: LiveServer) -> None:
    """A body over the limit is refused, with an announced or an unknown length."""
    headers = {"x-api-key": KEY, "content-type": "application/json"}
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=60) as client:
        announced = client.post("/v1/completions", json={"prompt": "x" * 2000}, headers=headers)
        fits = client.post("/v1/completions", json={"prompt": "x" * 1900}, headers=headers)

    assert (announced.status_code, announced.json()["error"]["code"]) == (413, 413)
    assert fits.status_code == 200
    with socket.create_connection(("127.0.0.1", guarded.port)) as connection:
        head = f"POST /infill HTTP/1.1\r\nHost: localhost\r\nX-Api-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + b"3e8\r\n" + b"x" * 1000 + b"\r\n" + b"3e9\r\n" + b"x" * 1001 + b"\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_websockets_are_checked_too() -> None:
    """A websocket from a foreign page is closed before the app is reached."""
    sent: list[Message] = []

    async def app(*_: Any) -> None:
        raise AssertionError("the app was reached")

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(
        Security(app, Door("127.0.0.1"), 1)(scope(kind="websocket", origin="https://evil.example"), receive, send)
    )

    assert [message["type"] for message in sent] == ["websocket.close"]


def test_errors_are_ours() -> None:
    """The error for a foreign host names the host."""
    with pytest.raises(PellucidError) as refused:
        Door("127.0.0.1").check(scope(host="evil.example"))

    assert "'evil.example' does not name this server" in str(refused.value)


def page_door(**rest: Any) -> Door:
    """Return the door of a server with a key and a page at paths with /page."""
    return Door("127.0.0.1", KEYS, is_page=lambda path: path.startswith("/page"), **rest)


def test_page_asks_for_the_key_itself() -> None:
    """The page's paths need no key at the door; other paths and websockets do."""
    own = f"http://127.0.0.1:{PORT}"
    page_door().check(scope("/page", "GET"))
    page_door().check(scope("/page/join", "POST", origin=own))
    for other in (scope("/pag", "GET"), scope("/page", "GET", "websocket")):
        with pytest.raises(AuthenticationError):
            page_door().check(other)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://ide.example"},
        {"origin": f"http://127.0.0.1:{PORT}", "host": "evil.example"},
    ],
)
def test_only_the_page_changes_things_on_the_page(headers: dict[str, str]) -> None:
    """A changing request to the page needs the page's Origin, not an API client's."""
    door = page_door(allowed_origins=("https://ide.example",))
    with pytest.raises(PermissionDeniedError):
        door.check(scope("/page/join", "POST", **headers))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_page_is_nobody_elses_picture(site: str) -> None:
    """Another page cannot load the page's resources; a link to the page can be followed."""
    with pytest.raises(PermissionDeniedError):
        page_door().check(scope("/page/data", "GET", sec_fetch_site=site, sec_fetch_mode="no-cors"))
    page_door().check(scope("/page", "GET", sec_fetch_site=site, sec_fetch_mode="navigate", sec_fetch_dest="document"))
    page_door().check(scope("/page/data", "GET", sec_fetch_site="same-origin", sec_fetch_mode="cors"))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:80", "http://localhost"),
        ("localhost", "http://localhost:80"),
        ("ide.example:443", "https://ide.example"),
    ],
)
def test_default_ports(host: str, origin: str) -> None:
    """The scheme's default port may be written or left out, as by some proxies."""
    Door("ide.example").check(scope(host=host, origin=origin))
    with pytest.raises(PermissionDeniedError):
        Door("ide.example").check(scope(host=host, origin=origin + "0" if origin[-1].isdigit() else origin + ":8080"))


ODD_ADDRESSES = (
    *("%ED%A0%80", "%FF%FE", "%00", "\u2028", "%F0%9F%98%80", "%C3%28", "..%2F..", "%25ED%25A0%2580", "'\"<&>"),
    "%0d%0aX: y",
)
"""Parts of addresses: half a character, bytes without a text, control characters."""


def test_odd_addresses(tiny_server: LiveServer) -> None:
    """With odd characters in a path or a query, every route answers, and errors can be printed."""
    paths = [
        *create_app(ServerState(models=(TINY,))).openapi()["paths"],
        "/",
        "/nowhere/{model}",
        "/page/{model}",
    ]
    methods, odds = itertools.cycle(("GET", "POST", "DELETE", "GET")), itertools.cycle(ODD_ADDRESSES)
    for path in paths:
        for place in range(3):
            method, raw = next(methods), next(odds).encode().decode("latin-1")
            target = (
                path.replace("{model}", raw).replace("{name}", raw),
                f"{path.split('{')[0]}?model={raw}&{raw}={raw}",
                f"{path}{raw}",
            )[place]
            status, body = raw_answer(tiny_server.port, method, target)
            assert status < 500 or status == 501, (method, target, body)
            if status >= 400 and body:
                error = json.loads(body)["error"]
                # ollama's errors are texts.
                message = error if isinstance(error, str) else error["message"]
                assert message.encode().decode() == message


def raw_answer(port: int, method: str, target: str) -> tuple[int, bytes]:
    """Return the reply to a request with an unchanged path."""
    target = target.replace(" ", "%20").replace("{", "%7B").replace("}", "%7D")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize("where", ["/{}", "/v1/models/{}", "/props?model={}", "/slots?model={}"])
async def test_half_a_character_in_an_address(where: str) -> None:
    """A lone surrogate in a path or query gets a printable error."""
    app = application(scripted_state())
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    path, _, query = where.format("\ud800").partition("?")
    asked = {
        **scope(path, "GET"),
        "query_string": query.encode("utf-8", "surrogatepass"),
        "root_path": "",
        "http_version": "1.1",
        "scheme": "http",
    }
    await app({**asked, "raw_path": b"/"}, receive, send)
    assert sent[0]["status"] < 500
    assert json.loads(sent[1]["body"])


def test_further_names() -> None:
    """An allowed name is accepted in any case and with any port; a part of the name is refused."""
    door = Door("0.0.0.0", allowed_hosts=load_settings(allowed_hosts="Front,code.example.org").allowed_hosts)
    for host in ("front", "FRONT:8437", "code.example.org"):
        door.check(scope(host=host))
    for host in ("example.org", "front.example.org", "xfront"):
        with pytest.raises(PermissionDeniedError, match="allow that name with --allowed-hosts"):
            door.check(scope(host=host))
    with pytest.raises(
        ConfigError, match=r"should be names like code\.example\.org, without a port or path, not 'front:80'"
    ):
        load_settings(allowed_hosts="front:80")
