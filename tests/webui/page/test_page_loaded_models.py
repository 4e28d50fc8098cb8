"""Tests loading and unloading of models on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from pellucid.client.model_table import HERE, cells
from pellucid.config import load_settings
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.serving.model_facts import model_facts
from pellucid.serving.saved_speeds import Speed, add_speeds
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


def here(page: Page) -> Locator:
    """Return the rows of the models on this machine, without the title."""
    groups = page.get_by_role("region", name="Models").get_by_role("rowgroup")
    return groups.filter(has_text=HERE).get_by_role("row").filter(has=page.get_by_role("button"))


@pytest.mark.parametrize("browser_page", [{"permissions": ["clipboard-read", "clipboard-write"]}], indirect=True)
@pytest.mark.parametrize("width", [1280, 390])
async def test_facts(serving: Serving, browser_page: Page, tmp_path: Path, width: int) -> None:
    """The dialog has the terminal's table, also on a phone, with a command to fetch a model."""
    settings = load_settings(cache=tmp_path / "cache", context=256)
    add_speeds(settings, {DEFAULT_MODEL: Speed(0.25, None, 10**9, estimated=True)})
    tab = watched(browser_page, serving[0])
    await browser_page.set_viewport_size({"width": width, "height": 800})
    await tab.open()
    page = tab.page
    table = page.get_by_role("region", name="Models").get_by_role("table")
    assert not [url for url in tab.requested if url.endswith("loads/facts")]
    await page.get_by_role("button", name="About the model").press("Enter")

    for facts in model_facts(settings):
        row = table.get_by_role("row").filter(has=page.get_by_role("rowheader", name=facts.name))
        await expect(row.get_by_role("cell")).to_have_text([*cells(facts)[1:], "Load" if facts.here else "Copy"])
    assert "~0.25 s" in await table.inner_text()
    await expect(page.get_by_role("region", name="Models")).to_contain_text("a text of 256 tokens")
    await check_looks(page, ".pl-loads")

    press = page.get_by_role("button", name=f"Copy the command for {DEFAULT_MODEL}")
    await press.press("Enter")
    await expect(press).to_have_text("Copied")
    assert await page.evaluate("navigator.clipboard.readText()") == f"pellucid models pull {DEFAULT_MODEL}"
    assert tab.problems == []


async def test_load_and_unload(serving: Serving, browser_page: Page) -> None:
    """The dialog loads a model with progress, for use in the chat, and unloads the model."""
    url, end_loading = serving
    tab = watched(browser_page, url)
    await tab.open()
    page = tab.page
    about, menu = page.get_by_role("button", name="About the model"), page.get_by_label("Model", exact=True).first
    await expect(menu).to_have_value(FIRST)
    await about.click()
    models = here(page)
    await expect(models).to_contain_text([f"{FIRST}loaded", f"{SECOND}unloaded", f"{THIRD}unloaded"])
    await expect(models.get_by_role("button")).to_have_text(["Unload", "Load", "Load"])
    await check_looks(page, ".pl-loads")

    await page.get_by_role("button", name=f"Load {SECOND}").press("Enter")
    await expect(models.nth(1)).to_contain_text(f"{SECOND}loading, 25 %")
    end_loading()
    await expect(models.nth(1)).to_contain_text(f"{SECOND}loaded")
    await expect(menu).to_have_value(SECOND)
    await expect(about).to_contain_text("Ready")

    await page.get_by_role("button", name=f"Unload {SECOND}").press("Enter")
    await expect(models.nth(1)).to_contain_text(f"{SECOND}unloaded")
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

    await expect(page.get_by_role("region", name="Models").get_by_role("alert")).to_contain_text("model.gguf")
    await expect(page.get_by_label("Model", exact=True).first).to_have_value(FIRST)
