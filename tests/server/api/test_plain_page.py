"""The plain page shows the server's status, follows changes, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re

import httpx
import pytest

from pellucid.api.routes.info import notice_of
from pellucid.api.server_state import ServerState
from pellucid.door.plain_page import PageNotice, document, plain_page
from support.servers.http_servers import TINY, application, scripted_state


def text_of(notice: PageNotice, about: str = "") -> str:
    return bytes(plain_page(notice, about).body).decode()


def test_news_are_text() -> None:
    """Every notice is shown as text, never as HTML."""
    assert "<p>a &lt;b&gt; &amp; c</p>" in text_of(PageNotice("a <b> & c"))


@pytest.mark.parametrize(("lasting", "follows"), [(True, False), (False, True)])
def test_it_follows_what_changes(lasting: bool, follows: bool) -> None:
    """A temporary notice is polled, even without scripts; a lasting notice is not."""
    text = text_of(PageNotice("x", lasting=lasting))

    assert ("location.reload()" in text) is follows
    assert ('<noscript><meta http-equiv="refresh"' in text) is follows


@pytest.mark.parametrize(("done", "total", "bar"), [(0, None, False), (1, 0, False), (1, 4, True), (9, 4, True)])
def test_progress(done: int, total: int | None, bar: bool) -> None:
    """Progress is shown if known, never beyond the end."""
    text = text_of(PageNotice("x", done, total))

    assert ("<progress" in text) is bar
    assert "225 %" not in text


def test_policy_lets_through_what_is_there() -> None:
    """The policy permits only the page's own script and style."""
    answer = document("t", "<p>b</p>", follow=True)
    policy, text = answer.headers["content-security-policy"], bytes(answer.body).decode()

    assert "default-src 'none'" in policy
    for tag in ("style", "script"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert " style=" not in text
    assert not re.search(r"https?://|//[a-z]", text)


def test_light_and_dark() -> None:
    """The page follows the system's light or dark setting."""
    text = text_of(PageNotice("x"))

    assert "color-scheme: light dark" in text
    assert "prefers-color-scheme: dark" in text


def test_news_of_a_server() -> None:
    """A loading, closing or failed server has a notice; only a failure's notice lasts."""
    loading = ServerState(models=(TINY,))
    assert notice_of(loading) == PageNotice("The models are being loaded.")
    loading.progress.start("tiny.gguf", 400)
    loading.progress.advance(100)
    assert notice_of(loading) == PageNotice("The models are being loaded: tiny.gguf.", 100, 400)
    loading.progress.note("Another process is at work on tiny: waiting for it.")
    assert notice_of(loading) == PageNotice(
        "The models are being loaded: Another process is at work on tiny: waiting for it."
    )
    loading.leaving = True
    assert notice_of(loading) == PageNotice("The server is shutting down.")
    failed = notice_of(scripted_state(failure=RuntimeError("x")))
    assert failed is not None
    assert failed.lasting
    assert notice_of(scripted_state()) is None


async def test_without_a_page() -> None:
    """Without a page, / names the models and the address for programs."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(application(scripted_state())), base_url="http://localhost"
    ) as client:
        text = (await client.get("/")).text

    assert "There is no page here, because this server was started with --no-page." in text
    assert f"<code>{TINY}</code> (ready)" in text
    assert "/openapi.json" in text
    assert "<script" not in text
