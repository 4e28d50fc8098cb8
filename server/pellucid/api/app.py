"""The HTTP application: routes and middleware."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pellucid.api.idle_exit import IdlenessCounter
from pellucid.api.memory_return import MemoryReturn
from pellucid.api.metrics import RequestCounter
from pellucid.api.openapi_extras import FRONT_ERRORS, describe
from pellucid.api.page_routing import MountedPage, PageFork
from pellucid.api.routes_on_demand import RouteImports, RoutesOnDemand
from pellucid.api.server_state import ServerState
from pellucid.client import wire
from pellucid.door.access_control import Door, Security, UserRequests
from pellucid.door.error_replies import install_error_handlers
from pellucid.system.installed_version import installed_version

ROUTES = {
    "pellucid.api.routes.queries": (wire.ROOT.rstrip("/"),),
    "pellucid.api.dialects.openai.completions": ("/v1/completions",),
    "pellucid.api.dialects.openai.chat": ("/v1/chat/completions",),
    "pellucid.api.dialects.openai.responses": ("/v1/responses",),
    "pellucid.api.dialects.anthropic.messages": ("/v1/messages",),
    "pellucid.api.dialects.mistral.fim": ("/v1/fim", "/fim"),
    "pellucid.api.routes.score": ("/v1/score",),
    "pellucid.api.routes.edits": ("/v1/edits",),
    "pellucid.api.dialects.openai.embeddings": ("/v1/embeddings",),
    "pellucid.api.dialects.ollama.embeddings": ("/api/embed", "/api/embeddings"),
    "pellucid.api.dialects.llama_cpp.generation": ("/infill", "/completion", "/completions"),
    "pellucid.api.dialects.ollama.generate_and_chat": ("/api/generate", "/api/chat"),
    "pellucid.api.dialects.ollama.models": ("/api/version", "/api/tags", "/api/ps", "/api/show"),
    "pellucid.api.dialects.ollama.pull": ("/api/pull",),
    "pellucid.api.dialects.tabby.editor_plugins": ("/v1/health", "/v1/events", "/v1beta/server_setting"),
    "pellucid.api.dialects.llama_cpp.tokens": ("/tokenize", "/detokenize", "/apply-template"),
    "pellucid.api.routes.adapters": ("/v1/adapters", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"),
    "pellucid.api.routes.engines": ("/v1/engines",),
    "pellucid.api.routes.usage": ("/v1/usage",),
    "pellucid.api.routes.suggestions": ("/v1/suggestions",),
    "pellucid.api.routes.info": ("/", "/health", "/metrics", "/v1/models"),
    "pellucid.api.routes.model_loading": ("/models",),
    "pellucid.api.dialects.llama_cpp.props_and_slots": ("/props", "/slots"),
}
"""The modules with routes, each with the first parts of its paths: see :mod:`.routes_on_demand`."""

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
        middleware=[*_middleware(state, page), Middleware(RouteImports)],
        lifespan=lifespan,
        responses=FRONT_ERRORS,
    )
    app.state.server = state
    app.state.routes = RoutesOnDemand(app, ROUTES)
    install_error_handlers(app)
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
