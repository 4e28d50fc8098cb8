"""The HTTP application: routes and middleware."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pellucid.api.dialects.anthropic import messages
from pellucid.api.dialects.llama_cpp import generation, props_and_slots, tokens
from pellucid.api.dialects.mistral import fim
from pellucid.api.dialects.ollama import embeddings as ollama_embeddings
from pellucid.api.dialects.ollama import generate_and_chat, models
from pellucid.api.dialects.openai import chat, completions, embeddings, responses
from pellucid.api.dialects.tabby import editor_plugins
from pellucid.api.idle_exit import IdlenessCounter
from pellucid.api.memory_return import MemoryReturn
from pellucid.api.metrics import RequestCounter
from pellucid.api.openapi_extras import FRONT_ERRORS, describe
from pellucid.api.page_routing import MountedPage, PageFork
from pellucid.api.routes import adapters, edits, engines, info, queries, score, suggestions, usage
from pellucid.api.server_state import ServerState
from pellucid.door.access_control import Door, Security, UserRequests
from pellucid.door.error_replies import install_error_handlers
from pellucid.system.installed_version import installed_version

ROUTES = (
    *(queries, completions, chat, responses, messages, fim, score, edits, embeddings, ollama_embeddings, generation),
    *(generate_and_chat, models, editor_plugins, tokens, adapters, engines, usage, suggestions, info, props_and_slots),
)

DESCRIPTION = """
A local code-completion and chat server that you can see through: every token that it generates or reads comes with its
probability, its rank, the entropy of the choice and the model's alternatives.

A field that is not listed is refused by name, unless it is null, [] or {}, which are ignored. \
For a listed field, null means the
default. Every error has the same shape, except under /api, where ollama's routes are, `{"error": "one sentence"}`, \
and under
/v1/messages, where errors have Anthropic's shape.
Logprobs are natural logarithms of the model's own distribution, before temperature and the rest.
"""


def create_app(state: ServerState, page: MountedPage | None = None) -> FastAPI:
    """Return the application of a server.

    Generation routes return 503 until ``state.open`` was called.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        if page is None:
            yield
            return
        async with page.running():
            yield

    app = FastAPI(
        title="Pellucid",
        version=installed_version(),
        description=DESCRIPTION,
        # FastAPI's documentation pages load scripts from external sites; Pellucid never does.
        docs_url=None,
        redoc_url=None,
        middleware=_middleware(state, page),
        lifespan=lifespan,
        responses=FRONT_ERRORS,
    )
    app.state.server = state
    install_error_handlers(app)
    for module in ROUTES:
        app.include_router(module.router)
    describe(app)
    return app


def _middleware(state: ServerState, page: MountedPage | None) -> list[Middleware]:
    """Return the middleware, the outermost first."""
    door = Door(
        state.host,
        state.keys,
        state.allowed_origins,
        rate_limit=state.login_rate_limit,
        allowed_hosts=state.allowed_hosts,
    )
    if page is not None:
        door = replace(door, is_page=page.owns)
    guards = [
        Middleware(RequestCounter, metrics=state.metrics),
        Middleware(MemoryReturn),
        Middleware(Security, door=door, max_body_bytes=state.max_body_bytes),
        Middleware(UserRequests, users=state.users, is_page=door.is_page),
        Middleware(IdlenessCounter, idleness=state.idleness),
    ]
    if page is not None:
        guards.append(Middleware(PageFork, page=page))
    # Without allowed origins, pages of external sites may not even read an error.
    if state.allowed_origins:
        guards.append(
            Middleware(
                CORSMiddleware,
                allow_origins=state.allowed_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["*"],
            )
        )
    return guards
