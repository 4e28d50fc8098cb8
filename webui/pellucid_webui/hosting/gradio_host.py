"""Gradio without contact to other servers, serving only the page.

Importing this module is fast; ``build`` imports Gradio in seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from pellucid.client.assistant_protocol import AssistantFor, ModelLoads
from pellucid_webui.conversations.storage.blind_reviews import REVIEWS, Reviews
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.hosting.page_routes import Handler
from pellucid_webui.hosting.responses import PageResponses
from pellucid_webui.routes.chat import ChatRoute
from pellucid_webui.routes.chat_comparison import ChatAnswers
from pellucid_webui.routes.compare import CompareRoute
from pellucid_webui.routes.compare_batch import BatchRoute
from pellucid_webui.routes.continuations import ContinuationsRoute
from pellucid_webui.routes.conversation_list import ConversationListRoute
from pellucid_webui.routes.infill import InfillRoute
from pellucid_webui.routes.models import LoadsRoute, ModelsRoute
from pellucid_webui.routes.read import ReadRoute
from pellucid_webui.routes.review import ReviewRoute

if TYPE_CHECKING:
    import gradio as gr


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
    """A page for Gradio to serve; the ``module``, a text, runs before Gradio's."""

    blocks: gr.Blocks
    theme: gr.themes.Base | None = None
    css: str = ""
    early_head: str = ""
    module: str = ""
    routes: Mapping[str, Handler] = field(default_factory=dict)


PageFactory = Callable[[AssistantFor, ConversationStore, Turns], GradioPage]
"""Creates the page, in a thread; may import Gradio."""


@dataclass(frozen=True, slots=True)
class BuiltPage:
    """``app`` draws the frame, ``routes`` carry the data."""

    app: ASGIApp
    routes: Mapping[str, Handler]


def pellucid_view(
    assistant_for: AssistantFor, store: ConversationStore, turns: Turns, loads: ModelLoads | None = None
) -> GradioPage:
    from pellucid_webui.frame import app, editor_frame

    chat = ChatRoute(store, assistant_for, turns)
    continuations = ContinuationsRoute(store, assistant_for, turns)
    load_route = LoadsRoute(loads)
    compare = CompareRoute(assistant_for, ChatAnswers(store))
    reviews = Reviews(store.folder / REVIEWS)
    return GradioPage(
        app.create_page(),
        app.THEME,
        app.css(),
        app.early_head(),
        app.module(),
        {
            "chat": chat.act,
            "turn": chat.follow,
            "continuations": continuations.grow,
            "experts": continuations.experts,
            "editor": editor_frame.answer,
            "conversations": ConversationListRoute(store, assistant_for, turns).act,
            "models": ModelsRoute(assistant_for).act,
            "loads": load_route.act,
            "loads/facts": load_route.facts,
            "compare": compare.act,
            "compare/batch": BatchRoute(assistant_for, reviews, compare.batches).act,
            "infill": InfillRoute(assistant_for).act,
            "read": ReadRoute(assistant_for).act,
            "review": ReviewRoute(reviews).act,
        },
    )


def build(create: PageFactory, assistant_for: AssistantFor, store: ConversationStore, turns: Turns) -> BuiltPage:
    """Import Gradio (seconds) and create the application."""

    async def create_app() -> BuiltPage:
        view = create(assistant_for, store, turns)
        return BuiltPage(PageResponses(_mounted(view), view.early_head, view.module), view.routes)

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


def _mounted(view: GradioPage) -> FastAPI:
    """Return Gradio's application. No event has a handler, so its queue is never started."""
    import gradio as gr

    blocks = view.blocks
    blocks.analytics_enabled = False
    blocks.api_open = False
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
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=view.theme,
        css=view.css,
    )
    return app
