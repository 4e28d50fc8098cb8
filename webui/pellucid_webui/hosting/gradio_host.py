"""Gradio without contact to other servers, serving only the page.

Importing this module is fast; ``build`` imports Gradio in seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.door.error_replies import invalid_response
from pellucid_webui.conversations.storage.blind_reviews import REVIEWS, Reviews
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting.login import owner_of
from pellucid_webui.hosting.page_routes import Handler
from pellucid_webui.hosting.responses import PageResponses
from pellucid_webui.routes.chat_comparison import ChatAnswers
from pellucid_webui.routes.compare import CompareRoute
from pellucid_webui.routes.compare_batch import BatchRoute
from pellucid_webui.routes.infill import InfillRoute
from pellucid_webui.routes.review import ReviewRoute

if TYPE_CHECKING:
    import gradio as gr

    from pellucid_webui.hosting.gradio_tabs import TabLimits

logger = logging.getLogger(__name__)

UNLIMITED = 2**31
"""Gradio would drop any user's least recently used tab; ``TabLimits`` limits each user instead."""

MAX_HANDLERS = 1024
"""Gradio's default of 40 protects a thread pool, unused by Pellucid's handlers."""

QUEUE_SECONDS = 0.02
"""Gradio's default of 1 ms costs an idle server several percent of a processor."""

ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Otherwise Gradio builds pandas tables of all events for a disabled page.
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": str(2**31),
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_TEMP_DIR": f"{os.devnull}/pellucid",  # Not a folder: the page stores no files, and Gradio cannot copy any.
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class GradioPage:
    """A page for Gradio to serve; the ``modules``, by name, run before Gradio's."""

    blocks: gr.Blocks
    theme: gr.themes.Base | None = None
    css: str = ""
    early_head: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, Handler] = field(default_factory=dict)


PageFactory = Callable[[AssistantFor, ConversationStore, Turns], GradioPage]
"""Creates the page, in a thread; may import Gradio."""


@dataclass(frozen=True, slots=True)
class GradioApp:
    """Gradio's application. Run within ``lifespan``, then close."""

    app: ASGIApp
    lifespan: Callable[[], AbstractAsyncContextManager[Any]]
    blocks: gr.Blocks
    tabs: TabLimits
    routes: Mapping[str, Handler]

    def close(self) -> None:
        self.blocks.close(verbose=False)


def pellucid_view(assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> GradioPage:
    from pellucid_webui.views import app

    compare = CompareRoute(assistant_for, ChatAnswers(store))
    return GradioPage(
        app.create_page(assistant_for, store, turns, owner_of),
        app.THEME,
        app.css(),
        app.early_head(),
        app.modules(),
        {
            "compare": compare.act,
            "compare/batch": BatchRoute(assistant_for, compare.batches).act,
            "infill": InfillRoute(assistant_for).act,
            "review": ReviewRoute(Reviews(store.folder / REVIEWS)).act,
        },
    )


def build(
    create: PageFactory, assistant_for: AssistantFor, store: ConversationStore, turns: Turns, max_file_size: int
) -> GradioApp:
    """Import Gradio (seconds) and create the application."""

    async def create_app() -> GradioApp:
        return _mounted(create(assistant_for, store, turns), max_file_size)

    quieten()
    from gradio import routes

    # Gradio creates a folder for a disabled feature: use an empty folder, removed at once.
    with TemporaryDirectory(prefix="pellucid-") as empty:
        routes.DEFAULT_TEMP_DIR = empty  # type: ignore[attr-defined]  # Imported there from gradio.utils.
        # Without a running event loop, Gradio creates loops for its locks, and never closes them.
        return asyncio.run(create_app())


def quieten() -> None:
    """Set the environment that stops Gradio from contacting servers; call before the import."""
    os.environ.update(ENVIRONMENT)
    hub = sys.modules.get("huggingface_hub.constants")
    if hub is not None:  # huggingface_hub has read the environment already.
        hub.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]


def _mounted(view: GradioPage, max_file_size: int) -> GradioApp:
    import gradio as gr
    from gradio import queueing
    from gradio.routes import App
    from gradio.utils import LRUCache

    from pellucid_webui.hosting.gradio_tabs import TabLimits

    class Messages(LRUCache[str, Any]):
        """Unread messages by session.

        Gradio deletes the messages of a reader that disconnects, and a KeyError would leak a task.
        """

        def __delitem__(self, session: str) -> None:
            if session in self:
                super().__delitem__(session)

    # Gradio prints the failure of a handler. On a full disk, printing fails and the call never
    # ends.
    vars(queueing)["traceback"] = SimpleNamespace(print_exc=lambda: logger.exception("A call of the page failed."))
    blocks = view.blocks
    blocks.analytics_enabled = False
    blocks.api_open = False
    blocks.has_launched = True  # As in launch(), which is never called here: otherwise a call may name any file.
    blocks.state_session_capacity = UNLIMITED
    blocks._queue.pending_messages_per_session = Messages(UNLIMITED)
    blocks._queue.max_thread_count = MAX_HANDLERS
    blocks._queue.sleep_when_free = blocks._queue.progress_update_sleep_when_free = QUEUE_SECONDS
    for function in blocks.fns.values():
        function.api_visibility = "private"
    # Gradio omits its permissive CORS middleware if a CORS middleware exists. This middleware
    # allows no other origin.
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
    )
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, App):
            # FastAPI's response repeats the request, which fails for lone surrogates and non-finite
            # numbers.
            route.app.add_exception_handler(RequestValidationError, invalid_response)
    responses = PageResponses(app, view.early_head, view.modules)
    return GradioApp(responses, lambda: app.router.lifespan_context(app), blocks, TabLimits(blocks), view.routes)
