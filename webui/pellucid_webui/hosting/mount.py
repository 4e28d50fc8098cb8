"""The page at /, behind a login if there are API keys.

Gradio draws the frame: tabs, layout, theme and form controls. The page's own routes carry all data.
A plain page is shown until Gradio is ready. Gradio and the page's routes are imported when the page
is first opened after loading the models: a server used only by editors never imports them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pellucid.client.assistant_protocol import AssistantFor, ModelLoads
from pellucid.door.api_keys import Keys
from pellucid.door.error_replies import MethodError, error_response
from pellucid.door.login_rate_limit import LoginRateLimit
from pellucid.door.plain_page import PageNotice, plain_page
from pellucid.door.request_body import BodyReader, admit
from pellucid.errors import AuthenticationError, ConfigError, PellucidError, UnavailableError
from pellucid_webui.hosting.login import PATHS, LoginGate, login_form
from pellucid_webui.hosting.login_sessions import LoginSessions
from pellucid_webui.hosting.page_routes import ROUTES, PageRoutes
from pellucid_webui.hosting.responses import CONFIG, FRONT, cancel
from pellucid_webui.page_threads import in_page_thread

if TYPE_CHECKING:
    from pellucid_webui.hosting.gradio_host import BuiltPage, PageFactory

logger = logging.getLogger(__name__)

FOLDERS = ("/assets/", "/static/")
SINGLE_FILES = frozenset({CONFIG, "/theme.css", "/manifest.json", "/favicon.ico"})

ALIVE = "/page/alive"
"""Polled by an open page to check that the same process is still running."""

EDITOR = f"{ROUTES}editor"
"""The chat's frame for an editor, which opens no other part of the page first."""

FINAL_UPDATES_SECONDS = 1.0
"""Time for showing the last updates of stopped answers."""

PREPARING = PageNotice("Preparing the page. This takes a few seconds.")


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """Functions and events of the server that the page needs.

    Attributes:
        notice: Returns the reason why there is no page yet, or None if ``assistants`` may be
            called.
        assistants: Returns the assistants of all users.
        loads: Loads and unloads models; None for a server with fixed models.
        about: Returns HTML about the server.
        departing: Set when the server accepts no more requests.
        closing: Set when answers must end.
    """

    assistants: Callable[[], AssistantFor]
    loads: Callable[[], ModelLoads | None]
    notice: Callable[[], Awaitable[PageNotice | None]]
    about: Callable[[], str]
    departing: asyncio.Event
    closing: asyncio.Event


@dataclass(frozen=True, slots=True)
class PageSettings:
    data: Path
    keys: Keys | None = None
    max_file_size: int = 16 * 2**20
    rate_limit: LoginRateLimit = field(default_factory=LoginRateLimit)


class Page:
    """The ASGI application of the page. Belongs to the event loop.

    ``create`` is for other pages than Pellucid's own.
    """

    def __init__(self, server: ServerHooks, settings: PageSettings, create: PageFactory | None = None) -> None:
        self._server = server
        self._settings = settings
        self._bodies = BodyReader(settings.max_file_size)
        self._create = create
        self._process_id = secrets.token_hex(8)
        self._gate: LoginGate | None = None
        self._opening = asyncio.Lock()
        self._page: BuiltPage | None = None
        self._routes: PageRoutes | None = None
        self._failure: PageNotice | None = None
        self._page_task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._streams_end = asyncio.Event()

    def owns(self, path: str) -> bool:
        """Return whether the path belongs to the page; the API answers all other paths."""
        return path == FRONT or path in PATHS or path in SINGLE_FILES or path.startswith((*FOLDERS, ROUTES))

    def watches(self, path: str) -> bool:
        """Return whether a request only checks that the server is running."""
        return path == ALIVE

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._ending.set()
            if self._page_task is not None:
                await self._page_task
            if self._gate is not None:
                self._gate.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app: ASGIApp
        try:
            app = await self._answer(Request(scope, receive))
        except PellucidError as error:
            app = error_response(error)
        await app(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        """Return the answer to a request: a response, or Gradio for the parts of the frame."""
        path = request.scope["path"]
        if path == ALIVE:
            return JSONResponse({"process": self._process_id, "locked": self._settings.keys is not None})
        gate = await self._login_gate()
        if path in PATHS:
            return await gate.answer(request)
        if not path.startswith(ROUTES) and request.method not in ("GET", "HEAD"):
            raise MethodError(f"{path} does not support {request.method}.")
        owner = await gate.owner_of(request)
        if owner is None and path == FRONT:
            return login_form()
        if owner is None:
            raise AuthenticationError("You are not logged in, or your session has ended: reload the page.")
        notice = await self._notice() if path in (FRONT, EDITOR) else None
        if notice is not None and path == EDITOR:
            raise UnavailableError(notice.sentence)
        if notice is not None:
            return plain_page(notice, self._server.about())
        if self._page is None or self._routes is None:
            raise UnavailableError("The page is not ready yet: open / first.")
        if not path.startswith(ROUTES):
            return self._page.app
        # With keys the owner is known: exempt the connection before its body. Without keys, only a
        # request that has come whole is exempt.
        if self._settings.keys is not None:
            admit(request.scope, owner)
        receive = await self._bodies.receive(request.scope, request.receive)
        if self._settings.keys is None:
            admit(request.scope)
        return await self._routes.respond(Request(request.scope, receive), owner)

    async def _login_gate(self) -> LoginGate:
        async with self._opening:
            if self._gate is None:
                keys = self._settings.keys
                sessions = None if keys is None else await in_page_thread(self._sessions, keys)
                self._gate = LoginGate(keys, sessions, self._settings.rate_limit, self._bodies)
        return self._gate

    def _sessions(self, keys: Keys) -> LoginSessions:
        return LoginSessions(_folder(self._settings.data) / "sessions.db", keys)

    async def _notice(self) -> PageNotice | None:
        """Return why the page cannot be shown yet, and start Gradio when possible."""
        notice = await self._server.notice()
        if notice is not None:
            return notice
        if self._page_task is None:
            self._page_task = asyncio.create_task(self._run(self._server.assistants()))
        return self._failure or (PREPARING if self._page is None else None)

    async def _run(self, assistant_for: AssistantFor) -> None:
        try:
            await self._build_and_serve(assistant_for)
        except Exception as error:
            self._failure = PageNotice(_failure(error), lasting=True)
        finally:
            self._page = None

    async def _build_and_serve(self, assistant_for: AssistantFor) -> None:
        await in_page_thread(import_module, "pellucid_webui.hosting.gradio_host")  # Takes tenths of a second.
        from pellucid_webui.conversations.storage.store import ConversationStore
        from pellucid_webui.conversations.turn import Turns
        from pellucid_webui.hosting.gradio_host import build, pellucid_view

        turns = Turns()
        store = await in_page_thread(lambda: ConversationStore(_folder(self._settings.data) / "conversations.db"))
        try:
            create = self._create or partial(pellucid_view, loads=self._server.loads())
            page = await in_page_thread(build, create, assistant_for, store, turns)
            self._routes = PageRoutes(page.routes, self._streams_end)
            self._page = page
            await _wait_for_first(self._server.closing.wait(), self._ending.wait())
            # The server exits once no requests are left, but answers without a tab have a grace
            # time too.
            await _wait_for_first(self._server.closing.wait(), turns.wait_until_idle())
            await turns.aclose()
            await _wait_for_first(self._ending.wait(), within=FINAL_UPDATES_SECONDS)
            self._streams_end.set()
            await self._ending.wait()
        finally:
            await in_page_thread(store.close)


async def _wait_for_first(*waits: Coroutine[Any, Any, object], within: float | None = None) -> None:
    """Wait for the first coroutine, for at most ``within`` seconds."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    await cancel(tasks)


def _failure(error: Exception) -> str:
    if isinstance(error, PellucidError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("pellucid"):
        return (
            f"The page needs {error.name}, which is not installed: "
            'run pip install "pellucid[webui]" and restart the server.'
        )
    logger.error("The page could not be created.", exc_info=error)
    return "The page could not be created; see the server log."


def _folder(data: Path) -> Path:
    """Create the folder if missing, accessible only to the server's user."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {data} cannot be created ({error.strerror}): set another one with --data."
        ) from error
    return data
