"""Serves a part of the page alone: a document, the ES modules, and routes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pellucid.serving.listening_socket import listen
from pellucid_webui.hosting.page_routes import Handler, PageRoutes
from support.page.heat_page import ASSETS


@dataclass
class PartServer:
    """A server of a part, whose handlers a test may replace."""

    html: str
    handlers: dict[str, Handler] = field(default_factory=dict)
    address: str = ""

    def app(self) -> Starlette:
        routes = PageRoutes(self.handlers, asyncio.Event())

        async def document(_: Request) -> Response:
            return HTMLResponse(self.html)

        async def answer(request: Request) -> Response:
            return await routes.respond(request, "me")

        return Starlette(
            routes=[
                Route("/", document),
                Mount("/assets", StaticFiles(directory=ASSETS)),
                Route("/page/{name:path}", answer, methods=["POST"]),
            ]
        )


@contextmanager
def served_part(html: str, handlers: Mapping[str, Handler]) -> Iterator[PartServer]:
    listener = listen("127.0.0.1", 0)
    part = PartServer(html, dict(handlers), f"http://127.0.0.1:{listener.getsockname()[1]}/")
    config = uvicorn.Config(part.app(), log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), name="part-server")
    thread.start()
    try:
        yield part
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
