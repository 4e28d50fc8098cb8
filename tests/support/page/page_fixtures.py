"""Provides the page in a real browser, over a real server with real models."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FilePayload,
    Frame,
    Locator,
    Page,
    Route,
    async_playwright,
    expect,
)
from playwright.async_api import Error as BrowserError

from support.fleet.over_fleet import is_healthy, serve_command
from support.required_programs import require_program
from support.servers.real_model_server import CODER, real_models

SMALL = "smollm2-135m-instruct"

PATIENCE = 300.0
"""Maximum seconds for loading models that are not cached yet."""

SECONDS = 60_000
"""Timeout in milliseconds, reached only if a test fails."""

POLLING = 50
"""Milliseconds between two looks at an answer in progress."""

ENDLESS = 7_000
"""A limit of tokens within the context, never reached before a test stops the answer."""

UNLOADING = "the document is being left"
"""Written to the console before Gradio's listeners abort requests."""

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--process-per-site",  # All pages of a context share compiled scripts.
)
"""Options that keep Chromium from sending requests."""


class PageServer:
    """``pellucid serve`` with separate conversations, which can be killed and restarted."""

    def __init__(self, folder: Path, *options: str, models: Sequence[str] = (CODER, SMALL)) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self._models = models
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self) -> None:
        """Start the server, and wait until the models are loaded and the page is ready."""
        environment = os.environ | real_models() | {"PELLUCID_DATA": str(self.folder / "data")}
        with (self.folder / "log").open("ab") as out:
            self._process = subprocess.Popen(
                [*self._command(), *self._options], stdout=out, stderr=out, env=environment | self._environment
            )
        late = time.monotonic() + PATIENCE
        try:
            while not self._is_ready():
                assert self._process.poll() is None, self.log
                assert time.monotonic() < late, self.log
                time.sleep(0.1)
        except BaseException:
            # No fixture stops a server that did not start.
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the server, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the server gracefully."""
        assert self._end(signal.SIGTERM) == 0, self.log

    def _end(self, how: signal.Signals) -> int:
        assert self._process is not None, "it was started"
        self._process.send_signal(how)
        return self._process.wait(30)

    def _command(self) -> list[str]:
        return serve_command(self.port, self._models)

    @property
    def _environment(self) -> dict[str, str]:
        """Settings that have no option."""
        return {}

    def _is_ready(self) -> bool:
        return is_healthy(self.address) and self._has_page()

    def _has_page(self) -> bool:
        with suppress(httpx.HTTPError):
            return "gradio_config" in httpx.get(f"{self.address}/").text
        return False


class StandalonePage(PageServer):
    """``pellucid webui`` without a grace time: a page without a model, which starts quickly."""

    def __init__(self, folder: Path, server: str) -> None:
        super().__init__(folder)
        self._server = server

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "pellucid", "webui", "--server", self._server, "--port", str(self.port)]

    @property
    def _environment(self) -> dict[str, str]:
        return {"PELLUCID_GRACE": "0"}

    def _is_ready(self) -> bool:
        return self._has_page()


@dataclass(frozen=True)
class Upload:
    """A file to choose in the browser."""

    name: str
    content: bytes


@dataclass
class Tab:
    """A browser tab with the page, and all requested addresses."""

    page: Page
    address: str
    requested: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> list[str]:
        """Requested addresses of foreign servers."""
        return [url for url in self.requested if not url.startswith((self.address, "data:", "blob:", "about:"))]

    async def open(self, path: str = "/") -> None:
        """Open the page, and wait for its parts."""
        await self.page.goto(self.address + path)
        await self.page.get_by_role("textbox", name="Your message").wait_for()

    async def tab(self, name: str) -> None:
        await self.page.get_by_role("tab", name=name).click()

    async def send(self, text: str) -> None:
        """Send a message in the chat."""
        field = self.page.get_by_role("textbox", name="Your message")
        await field.fill(text)
        if await self.page.evaluate("matchMedia('(pointer: coarse)').matches"):
            await self.page.get_by_role("button", name="Send").click()  # Enter starts a new line.
        else:
            await field.press("Enter")

    async def wait_for(self, what: str, script: str, arg: Any) -> None:
        """Wait until a function of the page returns true, or fail with the page's text."""
        try:
            # A look at each frame would have the page drawn all the time.
            await self.page.wait_for_function(script, arg=arg, polling=POLLING)
        except BrowserError as error:
            shown = await self.page.inner_text("body")
            written = await self.page.get_by_role("textbox", name="Your message").input_value()
            raise AssertionError(f"not {what}, but {shown!r}, {written!r} in the field; {self.problems}") from error

    async def answered(self, count: int) -> None:
        """Wait until the page has this many messages, all complete."""
        script = (
            "count => { const all = [...document.querySelectorAll('.pl-message')];"
            " return all.length === count && all.every((one) => one.getAttribute('aria-busy') === 'false'); }"
        )
        await self.wait_for(f"{count} messages", script, count)

    async def answer(self, text: str) -> str:
        """Send a message in the chat, and return the answer."""
        count = await self.page.locator(".pl-message").count()
        await self.send(text)
        await self.answered(count + 2)
        return (await self.texts())[-1]

    async def grown(self, longer: int = 0, even_ended: bool = False) -> str:
        """Wait until a running answer (or an ended answer) is longer, and return the text."""
        answer = ".pl-assistant" if even_ended else ".pl-assistant[aria-busy=true]"
        script = "([answer, length]) => document.querySelector(`${answer} .pl-body`)?.innerText.length > length"
        await self.wait_for(f"an answer of more than {longer} characters", script, [answer, longer])
        return (await self.texts())[-1]

    async def texts(self) -> list[str]:
        """Return the texts of the messages."""
        found = await self.page.locator(".pl-message .pl-body").all_inner_texts()
        return [text.strip() for text in found]

    async def show_settings(self, shown: bool = True) -> None:
        """Open or close the drawer of the settings."""
        toggle = self.page.get_by_role("button", name="Model & settings")
        if (await toggle.get_attribute("aria-expanded") == "true") != shown:
            await toggle.click()

    async def unfold_settings(self, name: str) -> None:
        """Open the drawer of the settings, and a group of settings."""
        await self.show_settings()
        fold = self.page.locator("#pl-settings button.label-wrap", has_text=name)
        if "open" not in (await fold.get_attribute("class") or "").split():
            await fold.click()
            # One frame after a group opens for the first time, or later on a busy machine,
            # Gradio sets its fields again.
            frames = "requestAnimationFrame(() => requestAnimationFrame(() => requestIdleCallback(done)))"
            await self.page.evaluate(f"new Promise((done) => {frames})")

    async def set_number(self, label: str, value: Any) -> None:
        """Set the first control with this label."""
        field = (
            self.page.get_by_label(label, exact=True)
            .or_(self.page.get_by_label(f"number input for {label}", exact=True))
            .first
        )
        await self.unfold_settings("Sampling")
        await field.fill(str(value))
        await field.press("Tab")

    async def set_form(self, **values: str) -> None:
        """Set ``answer_format``, ``tool_choice``, ``reasoning``, ``schema`` and ``tools``."""
        await self.unfold_settings("Format and tools")
        for name, value in values.items():
            if name in ("schema", "tools"):
                await self.page.locator(f"#pl-{name} textarea").fill(value)
            else:
                await self.page.get_by_label(
                    {"answer_format": "Answer format", "tool_choice": "Tool choice", "reasoning": "Reasoning"}[name]
                ).first.click()
                await self.page.get_by_role("option", name=value, exact=True).click()

    async def attach(self, *files: Upload) -> None:
        """Choose files to send with the next message."""
        chosen: list[FilePayload] = [{"name": one.name, "mimeType": "", "buffer": one.content} for one in files]
        await self.page.get_by_label("Attach files").set_input_files(chosen)
        await expect(self.page.locator(".pl-attached li")).to_have_count(len(files))

    async def be_brief(self, tokens: int = 24) -> None:
        """Limit answers to this many tokens, and make answers reproducible."""
        await self.set_number("Temperature", 0)
        await self.set_number("Max output tokens", tokens)
        await self.show_settings(False)

    @property
    def options(self) -> Locator:
        return self.page.locator(".pl-assistant [role=option]")

    @property
    def notice(self) -> Locator:
        return self.page.locator(".pl-chat .pl-notice")


@pytest.fixture(scope="session")
def page_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    """Provide a server for tests without kills."""
    server = PageServer(tmp_path_factory.mktemp("page"))
    server.start()
    yield server
    server.stop()


def chromium_path() -> str:
    """Return the tests' browser; the headless shell opens a page in a third of the time."""
    return require_program("chromium-headless-shell", "chromium", "chromium-browser")


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Provide a Chromium for all tests of a process, because each start takes long."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def warm_context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """Provide a context with compiled scripts, kept by a page that stays open.

    A page in this context opens with two thirds of the work of a page in a new context.
    """
    context = await new_context(chromium)
    kept = await context.new_page()
    await kept.route("**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    await kept.goto("http://127.0.0.1/")
    yield context
    await context.close()


async def new_context(chromium: Browser, **options: Any) -> BrowserContext:
    context = await chromium.new_context(**options)
    await context.add_init_script(f"addEventListener('beforeunload', () => console.debug('{UNLOADING}'))")
    return context


async def emptied(context: BrowserContext) -> None:
    """Close all pages of the warm context except the kept page, and clear cookies and storage."""
    kept, *others = context.pages
    for page in others:
        await page.close()
    await context.clear_cookies()
    devtools = await context.new_cdp_session(kept)
    await devtools.send("Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "all"})
    await devtools.detach()


@pytest.fixture
async def browser_page(
    request: pytest.FixtureRequest, chromium: Browser, warm_context: BrowserContext
) -> AsyncIterator[Page]:
    """Provide a page with empty storage, parametrized indirectly with context options."""
    options = getattr(request, "param", {})
    context = await new_context(chromium, **options) if options else warm_context
    page = await context.new_page()
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    yield page
    if options:
        await context.close()
    else:
        await emptied(context)


@pytest.fixture
async def tab(page_server: PageServer, browser_page: Page) -> Tab:
    """Provide a tab with the server's page."""
    return watched(browser_page, page_server.address)


def watched(page: Page, address: str) -> Tab:
    """Return a tab that records requests and errors, except errors during unloading.

    During unloading, Gradio aborts requests and writes an error for each running request.
    """
    found = Tab(page, address)
    kept: int | None = None  # Number of errors at the beginning of the document's unloading.

    def note_message(message: ConsoleMessage) -> None:
        nonlocal kept
        if message.text == UNLOADING:
            kept = len(found.problems)
        elif message.type == "error":
            found.problems.append(message.text)

    def note_arrival(frame: Frame) -> None:
        nonlocal kept
        if frame == page.main_frame and kept is not None:
            del found.problems[kept:]
            kept = None

    page.on("request", lambda request: found.requested.append(request.url))
    page.on("framenavigated", note_arrival)
    page.on("pageerror", lambda error: found.problems.append(error.stack or str(error)))
    page.on("console", note_message)
    return found


async def held_show(page: Page, id: str | None) -> asyncio.Event:
    """Hold the requests for the state of a conversation until the event is set."""
    return await held(page, "chat", lambda asked: asked["verb"] == "show" and asked["conversation"] == id)


async def held(page: Page, name: str, is_held: Callable[[dict[str, Any]], bool]) -> asyncio.Event:
    """Hold the chosen requests to a route of the page until the event is set."""
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        if is_held(route.request.post_data_json or {}):
            await released.wait()
        await route.fallback()

    await page.route(f"**/page/{name}", hold)
    return released
