"""Tests the list of sessions: users see and end only their own sessions."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from pellucid.door.api_keys import read_keys
from pellucid_webui.hosting.login_sessions import (
    MAX_AGENT_CHARACTERS,
    MAX_SESSIONS,
    OLD_TABLE,
    SESSION_SECONDS,
    LoginSessions,
)
from pellucid_webui.hosting.session_list_page import browser_name
from support.page.page_tabs import SERIOUS, WIDTHS
from support.page.small_page_server import PagedServer, paged

KEYS = "anna:key-of-anna,ben:key-of-ben"

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36"
)
SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 "
    "Safari/605.1.15"
)
EDGE = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
    "Safari/537.36 Edg/140.0"
)

END_ONE = re.compile(r'action="(/sessions\?end=[0-9a-f]{64})"')


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PagedServer]:
    with paged(tmp_path / "data", keys=KEYS) as found:
        yield found


@contextmanager
def browser(server: PagedServer, key: str, agent: str = FIREFOX) -> Iterator[httpx.Client]:
    """Provide a browser of a logged-in user."""
    address = server.server.url
    with httpx.Client(
        base_url=address, timeout=30, trust_env=False, headers={"origin": address, "user-agent": agent}
    ) as found:
        assert found.post("/login", data={"key": key}).status_code == 303
        yield found


def is_in(*browsers: httpx.Client) -> list[bool]:
    """Return for each browser whether the page accepts the cookie."""
    return [one.get("/config").status_code != 401 for one in browsers]


def test_list(server: PagedServer) -> None:
    """Users see their own sessions, browsers and the current session; the User-Agent is escaped."""
    with (
        browser(server, "key-of-anna") as anna,
        browser(server, "key-of-anna", "<script>alert(1)</script>" + CHROME),
        browser(server, "key-of-ben", SAFARI) as ben,
    ):
        seen, other = anna.get("/sessions").text, ben.get("/sessions").text
        assert '<a href="/sessions">' in anna.get("/logout").text
    assert "<strong>anna</strong>" in seen
    assert "Firefox on Linux" in seen
    assert "Chrome on Android" in seen
    assert "Safari" not in seen
    assert seen.count("<li>") == 2
    assert seen.count("this session</strong>") == 1
    assert len(END_ONE.findall(seen)) == 1
    assert "<script" not in seen
    assert "Safari on macOS" in other
    assert "End" not in other


def test_end_one(server: PagedServer) -> None:
    """An ended session no longer works, and other sessions stay."""
    with (
        browser(server, "key-of-anna") as anna,
        browser(server, "key-of-anna", CHROME) as phone,
        browser(server, "key-of-ben") as ben,
    ):
        (form,) = END_ONE.findall(anna.get("/sessions").text)
        answer = anna.post(form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sessions")
        assert is_in(anna, phone, ben) == [True, False, True]
        assert "API key" in phone.get("/sessions").text
        assert anna.get("/sessions").text.count("<li>") == 1


def test_end_all_others(server: PagedServer) -> None:
    """A user can end all other sessions at once; a login ends no session."""
    with (
        browser(server, "key-of-anna") as stolen,
        browser(server, "key-of-anna", CHROME) as phone,
        browser(server, "key-of-ben") as ben,
        browser(server, "key-of-anna") as anna,
    ):
        assert is_in(stolen, phone) == [True, True]
        assert anna.post("/sessions", params={"end": "others"}).status_code == 303
        assert is_in(anna, stolen, phone, ben) == [True, False, False, True]


def test_sessions_of_others_cannot_be_ended(server: PagedServer) -> None:
    """No other user, anonymous client or other site can end a session."""
    with (
        browser(server, "key-of-anna") as anna,
        browser(server, "key-of-anna") as phone,
        browser(server, "key-of-ben") as ben,
    ):
        (form,) = END_ONE.findall(anna.get("/sessions").text)
        ben.post(form)
        ben.post("/sessions", params={"end": "others"})
        with httpx.Client(
            base_url=server.server.url, trust_env=False, headers={"origin": server.server.url}, timeout=60
        ) as stranger:
            assert "API key" in stranger.post(form).text
            assert "Firefox" not in stranger.get("/sessions").text
        for headers in ({"origin": "https://evil.example"}, {"origin": "null"}):
            assert anna.post(form, headers=headers).status_code == 403
        for nonsense in ("/sessions", "/sessions?end=", "/sessions?end=%27", "/sessions?end=1&end=2"):
            assert anna.post(nonsense).status_code == 303
        assert anna.delete("/sessions").status_code == 405
        assert is_in(anna, phone, ben) == [True, True, True]


def test_without_a_key(tmp_path: Path) -> None:
    """A server without a key has no sessions: the address redirects to the page."""
    with paged(tmp_path) as server:
        answer = server.http.get("/sessions")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_what_is_over_is_not_listed(tmp_path: Path) -> None:
    """Expired sessions and sessions of old keys are not listed; a long User-Agent is cut."""
    now = [1000.0]
    sessions = LoginSessions(tmp_path / "sessions.db", read_keys(KEYS), lambda: now[0])
    sessions.begin("anna", "x" * 10_000)
    (found,) = sessions.open_sessions("anna", "")
    assert (found.begun, found.expires, found.agent, found.is_this) == (
        1000.0,
        1000.0 + SESSION_SECONDS,
        "x" * MAX_AGENT_CHARACTERS,
        False,
    )
    assert sessions.owner_of(found.digest) is None
    other = LoginSessions(tmp_path / "sessions.db", read_keys("anna:another,ben:key-of-ben"), lambda: now[0])
    assert other.open_sessions("anna", "") == []
    other.close()
    now[0] += SESSION_SECONDS
    assert sessions.open_sessions("anna", "") == []
    sessions.close()


def test_file_of_an_older_version(tmp_path: Path) -> None:
    """Sessions of a version without the list end, because users could not see or end them."""
    path = tmp_path / "sessions.db"
    old = sqlite3.connect(path)
    with old:
        old.execute(OLD_TABLE)
        old.execute("INSERT INTO session VALUES ('x', 1e12)")
    old.close()
    sessions = LoginSessions(path, read_keys(KEYS))
    id = sessions.begin("anna")
    assert sessions.owner_of(id) == "anna"
    assert len(sessions.open_sessions("anna", id)) == 1
    sessions.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM session").fetchone() == (1,)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (FIREFOX, "Firefox on Linux"),
        (CHROME, "Chrome on Android"),
        (SAFARI, "Safari on macOS"),
        (EDGE, "Edge on Windows"),
        ("curl/8.0", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browser_name(agent: str, name: str) -> None:
    """A User-Agent is shown by browser and system."""
    assert browser_name(agent) == name


async def test_in_a_browser(server: PagedServer, browser_page: Page) -> None:
    """A session can be ended by keyboard, the page fits a phone, and axe finds nothing serious."""
    with browser(server, "key-of-anna", CHROME) as phone:
        await browser_page.goto(server.server.url)
        await browser_page.get_by_label("API key").fill("key-of-anna")
        async with browser_page.expect_navigation():
            await browser_page.keyboard.press("Enter")
        await browser_page.goto(server.server.url + "/logout")
        await browser_page.get_by_role("link", name="See your other sessions").press("Enter")
        await expect(browser_page.get_by_role("listitem")).to_have_count(2)
        for theme in ("light", "dark"):
            await browser_page.emulate_media(color_scheme=theme)
            found = await Axe().run(browser_page)
            assert [one["id"] for one in found.response["violations"] if one["impact"] in SERIOUS] == [], theme
        for width in WIDTHS:
            await browser_page.set_viewport_size({"width": width, "height": 900})
            assert await browser_page.evaluate("document.documentElement.scrollWidth") <= width
        button = browser_page.get_by_role("button", name="End this session")
        await expect(button).to_have_accessible_description(re.compile("Chrome on Android, since .* until .*"))
        await button.press("Enter")
        await expect(browser_page.get_by_role("listitem")).to_have_count(1)
        assert is_in(phone) == [False]


def test_most_sessions(tmp_path: Path) -> None:
    """Too many logins end the same user's oldest sessions, even after the clock is set back."""
    now = [1000.0]
    with closing(LoginSessions(tmp_path / "sessions.db", read_keys(KEYS), lambda: now[0])) as sessions:
        hers = sessions.begin("anna")
        ids = []
        for _ in range(MAX_SESSIONS + 3):
            now[0] += 1
            ids.append(sessions.begin("ben"))
        assert [sessions.owner_of(id) for id in ids] == [None] * 3 + ["ben"] * MAX_SESSIONS
        now[0] = 900.0
        assert sessions.owner_of(sessions.begin("ben")) == "ben"
        assert sessions.owner_of(hers) == "anna"
