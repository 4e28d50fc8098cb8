"""Gradio, kept to itself: it sends nothing anywhere, offers nothing but the page, and shows no insides.

Importing this module is light; importing Gradio takes seconds, and ``build`` does that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from pellucid.api.errors import invalid_response
from pellucid.client.protocol import Assistant
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting.login import owner_of

if TYPE_CHECKING:
    import gradio as gr

    from pellucid_webui.hosting.gradio_tabs import TabLimits

logger = logging.getLogger(__name__)

UNLIMITED = 2**31
"""Capacity of Gradio's stores, which know no users and drop the least recently used tab of all: ``Tabs`` keeps them small."""

MAX_HANDLERS = 1024
"""Handlers that Gradio runs at the same time. Its default of 40 protects a thread pool, which our handlers do not use."""

QUEUE_SECONDS = 0.02
"""How often Gradio's queue looks for work. Its own pace, a thousand times a second, costs an idle server several percent of a processor."""

ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**31),  # else pandas makes tables of its events for a page that is off, after each one
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_TEMP_DIR": f"{os.devnull}/pellucid",  # not a folder: the page stores no files, and Gradio cannot copy any
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""What Gradio and the hub's library read when they are imported."""


@dataclass(frozen=True, slots=True)
class GradioPage:
    """What is shown: the Blocks, and what Gradio takes beside them."""

    blocks: gr.Blocks
    theme: gr.themes.Base | None = None
    css: str = ""
    head: str = ""


PageFactory = Callable[[Assistant, ConversationStore, Turns], GradioPage]
"""Makes the page. It runs on a thread, and may import Gradio."""


@dataclass(frozen=True, slots=True)
class GradioApp:
    """An application to be entered by its lifespan, and closed."""

    app: FastAPI
    blocks: gr.Blocks
    tabs: TabLimits

    def close(self) -> None:
        """Its queue ends."""
        self.blocks.close(verbose=False)


def pellucid_view(assistant: Assistant, store: ConversationStore, turns: Turns) -> GradioPage:
    """Our page."""
    from pellucid_webui.views import app

    return GradioPage(app.create_page(assistant, store, turns, owner_of), app.THEME, app.css(), app.head())


def build(create: PageFactory, assistant: Assistant, store: ConversationStore, turns: Turns, max_file_size: int) -> GradioApp:
    """Import Gradio and make its application; blocks for seconds. Raises ModuleNotFoundError where it is not installed."""

    async def made() -> GradioApp:
        return _mounted(create(assistant, store, turns), max_file_size)

    quieten()
    from gradio import routes

    # Gradio makes a folder for the history of a feature that is off: the folder stays empty, and is removed at once.
    with TemporaryDirectory(prefix="pellucid-") as empty:
        routes.DEFAULT_TEMP_DIR = empty  # type: ignore[attr-defined]  # imported there from gradio.utils
        return asyncio.run(made())  # in a loop: without one Gradio makes its own for its locks, and never closes them


def quieten() -> None:
    """Have Gradio keep to itself; before its import."""
    os.environ.update(ENVIRONMENT)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:  # it has read its environment already
        hub.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]


def _mounted(view: GradioPage, max_file_size: int) -> GradioApp:
    import gradio as gr
    from gradio import queueing
    from gradio.routes import App
    from gradio.utils import LRUCache

    from pellucid_webui.hosting.gradio_tabs import TabLimits

    class Messages(LRUCache[str, Any]):
        """Unread messages by session. Gradio deletes those of each reader that leaves, and leaks a task where there are none."""

        def __delitem__(self, session: str) -> None:
            if session in self:
                super().__delitem__(session)

    # Its own way to print a failure of a handler fails on a full disk, and then the call never ends.
    vars(queueing)["traceback"] = SimpleNamespace(print_exc=lambda: logger.exception("A call of the page failed."))
    blocks = view.blocks
    blocks.analytics_enabled = False
    blocks.api_open = False
    blocks.has_launched = True  # set by launch(), which is never called here: until then Gradio lets a call name any file
    blocks.state_session_capacity = UNLIMITED
    blocks._queue.pending_messages_per_session = Messages(UNLIMITED)
    blocks._queue.max_thread_count = MAX_HANDLERS
    blocks._queue.sleep_when_free = blocks._queue.progress_update_sleep_when_free = QUEUE_SECONDS
    for function in blocks.fns.values():
        function.api_visibility = "private"
    # With a CORS middleware that allows nobody Gradio leaves out its own, which allows more than we do.
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=[Middleware(CORSMiddleware)])
    gr.mount_gradio_app(
        app,
        blocks,
        "/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        max_file_size=max_file_size,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=view.theme,
        css=view.css,
        head=view.head,
    )
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, App):
            # FastAPI's own answer repeats what was sent, which fails for half a character and for numbers that are not finite.
            route.app.add_exception_handler(RequestValidationError, invalid_response)
    return GradioApp(app, blocks, TabLimits(blocks))
