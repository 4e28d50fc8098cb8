"""Tests loading and unloading of models on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import watched
from support.page.page_tabs import check_looks
from support.page.small_page_server import paged
from support.servers.loadable_models import FIRST, SECOND, THIRD, assembled, downloaded, held_loading

Serving = tuple[str, Callable[[], None]]


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Serve a page, with a function that ends the loading of a model."""
    with (
        ExitStack() as hold,
        assembled(downloaded(tmp_path / "cache")) as (state, loader),
        paged(tmp_path, partial(pellucid_view, loads=loader), state=state) as server,
    ):
        hold.enter_context(held_loading(monkeypatch))
        server.wait()
        yield server.server.url, hold.close


async def test_load_and_unload(serving: Serving, browser_page: Page) -> None:
    """The dialog loads a model with progress, for use in the chat, and unloads the model."""
    url, end_loading = serving
    tab = watched(browser_page, url)
    await tab.open()
    page = tab.page
    about, menu = page.get_by_role("button", name="About the model"), page.get_by_label("Model", exact=True).first
    await expect(menu).to_have_value(FIRST)
    await about.click()
    models = page.get_by_role("region", name="Models on this machine").get_by_role("listitem")
    await expect(models).to_have_text([f"{FIRST}loadedUnload", f"{SECOND}unloadedLoad", f"{THIRD}unloadedLoad"])
    await check_looks(page, ".pl-loads")

    await page.get_by_role("button", name=f"Load {SECOND}").press("Enter")
    await expect(models.nth(1)).to_have_text(f"{SECOND}loading, 25 %Load")
    end_loading()
    await expect(models.nth(1)).to_have_text(f"{SECOND}loadedUnload")
    await expect(menu).to_have_value(SECOND)
    await expect(about).to_contain_text("Ready")

    await page.get_by_role("button", name=f"Unload {SECOND}").press("Enter")
    await expect(models.nth(1)).to_have_text(f"{SECOND}unloadedLoad")
    await expect(about).to_contain_text("Not loaded")
    await expect(page.get_by_role("button", name=f"Load {SECOND}")).to_be_focused()
    assert tab.elsewhere == []
    assert tab.problems == []


async def test_refused_loading(serving: Serving, browser_page: Page, tmp_path: Path) -> None:
    """The dialog shows why a model cannot be loaded; the chosen model stays."""
    url, end_loading = serving
    tab = watched(browser_page, url)
    await tab.open()
    page = tab.page
    await page.get_by_role("button", name="About the model").click()
    (tmp_path / "cache/models/org--third/model.gguf").write_bytes(b"GGUF")
    end_loading()
    await page.get_by_role("button", name=f"Load {THIRD}").click()

    await expect(page.get_by_role("region", name="Models on this machine").get_by_role("alert")).to_contain_text(
        "model.gguf"
    )
    await expect(page.get_by_label("Model", exact=True).first).to_have_value(FIRST)
