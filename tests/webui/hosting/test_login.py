"""Tests the login of the page: keys, slowed guessing, and separate users."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from starlette.requests import Request

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.door.api_keys import CHECK_SECONDS, LOCAL, Keys, WatchedKeys, read_keys
from pellucid.door.login_rate_limit import FREE_ATTEMPTS, LoginRateLimit
from pellucid.errors import AuthenticationError, ConfigError, PellucidError
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import GradioPage
from pellucid_webui.hosting.login import LoginGate
from pellucid_webui.hosting.login_sessions import SESSION_SECONDS, LoginSessions
from support.page.small_page_server import PagedServer, paged
from support.servers.http_servers import scripted_state

KEYS = read_keys("anna:key-of-anna,ben:key-of-ben")


def list_page(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    """Create a page that names the user, begins conversations, and lists the user's titles."""

    async def whose(owner: str, _: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield {"owner": owner}

    async def begin(owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield {"id": store.create(owner, TurnSettings(), str(asked["title"]))}

    async def titles(owner: str, _: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield {"titles": [one.title for one in store.list(owner)]}

    async def title(owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        yield {"title": store.conversation(owner, str(asked["id"])).title}

    with gr.Blocks() as blocks:
        gr.Textbox()
    return GradioPage(blocks, routes={"whose": whose, "begin": begin, "titles": titles, "title": title})


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagedServer]:
    """Start a server with two users, and wait for the page."""
    with paged(tmp_path_factory.mktemp("data"), list_page, keys="anna:key-of-anna,ben:key-of-ben") as server:
        log_in(server.http, "key-of-anna")
        server.wait()
        yield server


def browser(server: PagedServer) -> PagedServer:
    """Return a second browser at the same server."""
    http = httpx.Client(base_url=server.server.url, timeout=30, trust_env=False, headers={"origin": server.server.url})
    return PagedServer(server.server, server.page, http)


def log_in(http: httpx.Client, key: str) -> httpx.Response:
    return http.post("/login", data={"key": key})


def test_form(locked: PagedServer) -> None:
    """Without a key a visitor gets only a form that works without scripts."""
    with browser(locked).http as http:
        text = http.get("/").text
        assert http.get("/config").status_code == 401
        assert http.post("/page/whose", json={}).status_code == 401
    assert '<form method="post" action="/login">' in text
    assert '<label for="key">' in text
    assert 'autocomplete="current-password"' in text
    assert "color-scheme: light dark" in text
    assert "<script" not in text
    assert "gradio" not in text
    assert not re.search(r"https?://", text)


def test_logging_in(locked: PagedServer) -> None:
    """The right key sets a cookie with limited age, closed to scripts and other sites."""
    with browser(locked).http as http:
        answer = log_in(http, "key-of-ben")
        cookie = answer.headers["set-cookie"]
        text = http.get("/").text
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", f"max-age={SESSION_SECONDS}", "path=/", "samesite=strict"}
    assert cookie.startswith(f"pellucid-{locked.server.port}=")
    assert "key-of-ben" not in cookie
    assert "gradio_config" in text


def test_a_key_instead_of_a_login(locked: PagedServer) -> None:
    """A program sends a key with each request: the key names the owner, and begins no session."""
    with browser(locked).http as http:
        right, wrong = [
            http.post("/page/whose", json={}, headers={"authorization": f"Bearer {key}"})
            for key in ("key-of-ben", "wrong")
        ]
    assert json.loads(right.text.removeprefix("data: ")) == {"owner": "ben"}
    assert "set-cookie" not in right.headers
    assert wrong.status_code == 401
    assert wrong.json()["error"]["message"] == "The API key is wrong: send a key that this server accepts."


def test_cookie_is_secure_over_https(locked: PagedServer, tmp_path: Path) -> None:
    """Behind a configured proxy with https, the cookie is restricted to https."""
    over_https = {"x-forwarded-proto": "https"}
    with paged(tmp_path, keys="key-of-ben", proxies=("127.0.0.1",)) as proxied:
        response = proxied.http.post("/login", data={"key": "key-of-ben"}, headers=over_https)
    with browser(locked).http as http:
        claimed = http.post("/login", data={"key": "key-of-ben"}, headers=over_https)
    assert "; secure" in response.headers["set-cookie"].lower()
    assert "; secure" not in claimed.headers["set-cookie"].lower()


def test_wrong_keys(tmp_path: Path) -> None:
    """A wrong or missing key gives an error without a cookie, and several wrong keys a delay."""
    bodies = [
        b"key=wrong",
        b"",
        b"key=%FF",
        b"key=a",
        b"x" * 10_000,
        b"key=key-of-anna" + b"x" * 10_000,
        b"key=wrong",
        b"key=b",
    ]
    assert len({0, 1, 2, 3, 7}) == FREE_ATTEMPTS, "a key that is too long counts as none, and one counts once"
    state = scripted_state(keys=KEYS, login_rate_limit=LoginRateLimit(lambda: 0.0))
    with paged(tmp_path, state=state) as server:
        answers = [server.http.post("/login", content=body) for body in bodies]
        late = log_in(server.http, "key-of-anna")
    for answer in answers:
        assert answer.status_code == 403
        assert "That is not an API key of this server." in answer.text
        assert "set-cookie" not in answer.headers
    assert (late.status_code, late.headers["retry-after"]) == (429, "2")
    assert "Try again in 2 seconds." in late.text


def test_logging_out(locked: PagedServer) -> None:
    """Logging out ends the session: copies of the cookie no longer work."""
    with browser(locked).http as http:
        log_in(http, "key-of-ben")
        copied = {"cookie": "; ".join(f"{name}={value}" for name, value in http.cookies.items())}
        assert http.get("/config", headers=copied).status_code == 200
        assert '<form method="post" action="/logout">' in http.get("/logout").text
        answer = http.post("/logout")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert not http.cookies
        assert http.get("/config", headers=copied).status_code == 401


def test_cookie_is_not_for_the_api(locked: PagedServer) -> None:
    """The API accepts no cookie, and a key in the header does not open the page's frame."""
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert locked.http.get(path).status_code == 401, path
        assert locked.http.get(path, headers={"authorization": "Bearer key-of-ben"}).status_code in (200, 404), path
    with browser(locked).http as http:
        assert http.get("/config", headers={"authorization": "Bearer key-of-ben"}).status_code == 401


@pytest.mark.parametrize("headers", [{}, {"origin": "https://evil.example"}, {"origin": "null"}])
def test_no_other_site_logs_in_or_out(locked: PagedServer, headers: dict[str, str]) -> None:
    """Other sites cannot log users in or out."""
    with httpx.Client(base_url=locked.server.url, trust_env=False, headers=headers, timeout=60) as http:
        for path in ("/login", "/logout"):
            assert http.post(path, data={"key": "key-of-ben"}).status_code == 403


def test_owners_are_apart(locked: PagedServer) -> None:
    """Users see and open only their own conversations, even with another user's id."""
    ben = browser(locked)
    with ben.http:
        log_in(ben.http, "ben:key-of-ben")
        id = locked.call("begin", title="a secret")["id"]
        assert locked.call("whose") == {"owner": "anna"}
        assert ben.call("whose") == {"owner": "ben"}
        assert locked.call("titles") == {"titles": ["a secret"]}
        assert ben.call("titles") == {"titles": []}
        assert locked.call("title", id=id) == {"title": "a secret"}
        assert "secret" not in str(ben.call("title", id=id))


def test_shared_key(tmp_path: Path) -> None:
    """With a shared key every user is local."""
    with paged(tmp_path, list_page, keys="secret") as server:
        log_in(server.http, "secret")
        server.wait()
        assert server.call("whose") == {"owner": "local"}


def test_without_a_key(tmp_path: Path) -> None:
    """Without a key the login redirects to the page, and no session is stored."""
    with paged(tmp_path, list_page) as server:
        for answer in (server.http.get("/login"), log_in(server.http, "x"), server.http.post("/logout")):
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
            assert "set-cookie" not in answer.headers
    assert not (tmp_path / "sessions.db").exists()


def test_sessions_outlive_the_server(tmp_path: Path) -> None:
    """Users stay logged in after a restart, and the file has no usable id."""
    sessions = LoginSessions(tmp_path / "sessions.db", KEYS)
    id = sessions.begin("anna")
    sessions.close()
    again = LoginSessions(tmp_path / "sessions.db", KEYS)
    assert again.owner_of(id) == "anna"
    assert again.owner_of(id + "x") is None
    again.close()
    rows = sqlite3.connect(tmp_path / "sessions.db").execute("SELECT * FROM session").fetchall()
    assert id not in str(rows)
    assert "anna" not in str(rows)


def test_sessions_end(tmp_path: Path) -> None:
    """A session ends by time, and with a changed or removed key; other sessions continue."""
    now = [1000.0]
    path = tmp_path / "sessions.db"
    sessions = LoginSessions(path, KEYS, lambda: now[0])
    anna, ben = sessions.begin("anna"), sessions.begin("ben")
    for text, found in (
        ("anna:another,ben:key-of-ben", (None, "ben")),
        ("ben:key-of-ben", (None, "ben")),
        ("carl:key-of-anna,ben:key-of-ben", (None, "ben")),
        ("anna:key-of-anna,ben:key-of-ben", ("anna", "ben")),
    ):
        changed = LoginSessions(path, read_keys(text), lambda: now[0])
        assert (changed.owner_of(anna), changed.owner_of(ben)) == found
        changed.close()
    now[0] += SESSION_SECONDS - 1
    assert sessions.owner_of(anna) == "anna"
    now[0] += 1
    assert sessions.owner_of(anna) is None
    sessions.begin("ben")
    left = sqlite3.connect(path).execute("SELECT count(*) FROM session").fetchone()
    sessions.close()
    assert left == (1,)


def test_sessions_that_cannot_be_opened(tmp_path: Path) -> None:
    """A file that is no database, belongs to another program, or is a folder is refused by name."""
    path = tmp_path / "sessions.db"
    path.write_bytes(b"no database" * 100)
    cannot = r"^The login sessions in .*sessions\.db cannot be opened"
    with pytest.raises(ConfigError, match=rf"{cannot} \(file is not a database\)"):
        LoginSessions(path, KEYS)
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE song (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"sessions\.db belongs to another program: move it away"):
        LoginSessions(path, KEYS)
    assert path.read_bytes() == before
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=cannot):
        LoginSessions(path, KEYS)


def test_sessions_are_the_users_own(tmp_path: Path) -> None:
    """Other users of the machine cannot read the files of the sessions."""
    sessions = LoginSessions(tmp_path / "sessions.db", KEYS)
    sessions.begin("anna")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    sessions.close()
    assert set(modes.values()) == {0o600}, modes


def begin(sessions: LoginSessions) -> None:
    sessions.begin("anna")


def look_up(sessions: LoginSessions) -> None:
    sessions.owner_of("an id")


def end(sessions: LoginSessions) -> None:
    sessions.end("an id")


Verb = Callable[[LoginSessions], None]


@pytest.mark.parametrize("verb", [begin, look_up, end])
def test_sessions_that_were_spoilt(tmp_path: Path, verb: Verb) -> None:
    """A file damaged during operation is reported with the remedy."""
    path = tmp_path / "sessions.db"
    sessions = LoginSessions(path, KEYS)
    other = sqlite3.connect(path)
    other.execute("DROP TABLE session")
    other.close()
    with pytest.raises(
        PellucidError,
        match=r"^The login sessions in .*sessions\.db cannot be read or written \(no such table: .*\): check the file",
    ):
        verb(sessions)
    sessions.close()


@pytest.mark.parametrize("verb", [begin, end])
def test_sessions_that_are_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Verb) -> None:
    """A file locked by another program is reported by name, and works again later."""
    monkeypatch.setattr("pellucid_webui.hosting.login_sessions.BUSY_SECONDS", 0.05)
    path = tmp_path / "sessions.db"
    sessions = LoginSessions(path, KEYS)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(PellucidError, match=r"sessions\.db cannot be read or written \(database is locked\)"):
        verb(sessions)
    other.close()
    verb(sessions)
    sessions.close()


def with_cookie(cookie: str = "") -> Request:
    return Request({"type": "http", "headers": [(b"cookie", cookie.encode())], "server": ("127.0.0.1", 80)})


async def test_looking_up_a_session_delays_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the sessions' file blocks a request, other tasks run."""
    others_went_on = threading.Event()
    monkeypatch.setattr(LoginSessions, "owner_of", lambda self, owner: owner if others_went_on.wait(5) else None)
    lock = LoginGate(KEYS, LoginSessions(tmp_path / "sessions.db", KEYS))
    looking = asyncio.create_task(lock.owner_of(with_cookie("pellucid-80=anna")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others_went_on.set()
    found = await looking
    lock.close()
    assert found == "anna"


@pytest.mark.parametrize(("keys", "owner"), [(None, LOCAL), (KEYS, None)])
def test_nothing_is_looked_up_without_need(tmp_path: Path, owner: str | None, keys: Keys | None) -> None:
    """Without keys or without a cookie, the user is known without a thread."""
    lock = LoginGate(keys, None if keys is None else LoginSessions(tmp_path / "sessions.db", keys))
    with pytest.raises(StopIteration) as stopped:
        lock.owner_of(with_cookie()).send(None)
    lock.close()
    assert stopped.value.value == owner


def test_the_clock_is_set_back(tmp_path: Path) -> None:
    """After the clock is set back, expired sessions stay expired, and open sessions stay open."""
    now = [1_000_000.0]
    with closing(LoginSessions(tmp_path / "sessions.db", KEYS, lambda: now[0])) as sessions:
        first = sessions.begin("anna")
        now[0] += SESSION_SECONDS - 60.0
        second = sessions.begin("anna")
        now[0] += 60.0
        assert (sessions.owner_of(first), sessions.owner_of(second)) == (None, "anna")
        now[0] -= 3600.0
        assert (sessions.owner_of(first), sessions.owner_of(second)) == (None, "anna")


def test_removed_users_are_logged_out(tmp_path: Path) -> None:
    """A user removed from the key file is logged out at the next request."""
    path, now = tmp_path / "keys", [0.0]
    path.write_text("anna:key-of-anna\nben:key-of-ben\n")
    path.chmod(0o600)
    state = scripted_state(keys=WatchedKeys(path, KEYS, clock=lambda: now[0]))
    with paged(tmp_path / "data", list_page, state=state) as server:
        anna, ben = browser(server), browser(server)
        with anna.http, ben.http:
            log_in(anna.http, "key-of-anna")
            log_in(ben.http, "key-of-ben")
            assert ["Log in" in one.http.get("/").text for one in (anna, ben)] == [False, False]
            path.write_text("anna:key-of-anna\n")
            now[0] += CHECK_SECONDS
            assert ["Log in" in one.http.get("/").text for one in (anna, ben)] == [False, True]
            assert log_in(ben.http, "key-of-ben").status_code == 403


def test_key_removed_during_a_request(tmp_path: Path) -> None:
    """A request of a user removed meanwhile ends with a sentence."""
    keys = {"anna": "key-of-anna"}
    with closing(LoginSessions(tmp_path / "sessions.db", Keys(keys))) as sessions:
        id = sessions.begin("anna")
        keys.clear()
        assert sessions.owner_of(id) is None
        with pytest.raises(AuthenticationError, match="Your API key was removed"):
            sessions.open_sessions("anna", id)
