"""The page alone, in a process of its own without torch, over a server elsewhere."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from html import escape
from importlib.util import find_spec

import typer
from fastapi import FastAPI
from starlette.middleware import Middleware

from pellucid.api.errors import install_error_handlers
from pellucid.api.login_rate_limit import LoginRateLimit
from pellucid.api.page_fork import PageFork
from pellucid.api.plain_page import PageNotice
from pellucid.api.security import Door, Security
from pellucid.client.client import Client
from pellucid.client.server_address import is_loopback, url_of
from pellucid.client.server_health import HealthStatus, ServerHealth
from pellucid.config import Settings
from pellucid.errors import ConfigError
from pellucid.serving.graceful_server import GracefulServer
from pellucid.serving.listening_socket import listen
from pellucid_webui.hosting.gradio_host import PageFactory, pellucid_view
from pellucid_webui.hosting.mount import Page, PageSettings, ServerHooks


def run(settings: Settings, url: str, host: str, port: int, *, key_is_for_url: bool = False) -> None:
    """Show the page on ``host`` and ``port`` until a signal ends it; the host and port of the settings are the server's own.

    The key of the settings goes to the server that they name, and to another one with ``key_is_for_url``.

    Raises a PellucidError where that cannot be: without Gradio, for a URL that is none, for a port that is taken.
    """
    if find_spec("gradio") is None:
        raise ConfigError("The page needs gradio: run pip install '.[webui]' in Pellucid's folder.")
    if settings.key is None and not is_loopback(host):
        raise ConfigError(f"Other machines can reach the host {host}, so it demands an API key (--api-key-file or PELLUCID_API_KEY).")
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    key = settings.key if key_is_for_url else settings.key_for(url)
    problem = asyncio.run(_problem(url, key))
    with listen(host, port) as listener:
        server = PageServer(settings, url, host, key=key)
        typer.echo(f"The page is at {url_of(host, port)}/ and asks {url}; Ctrl-C stops it.")
        if problem is not None:
            typer.echo(problem.sentence, err=True)
        server.run(sockets=[listener])


class PageServer(GracefulServer):
    """A server of nothing but the page."""

    def __init__(self, settings: Settings, url: str, host: str, create: PageFactory = pellucid_view, *, key: str | None = None) -> None:
        self._grace = settings.grace
        self._key = key
        self._departing, self._closing = asyncio.Event(), asyncio.Event()
        super().__init__(self._app(settings, url, host, create), settings, self._depart, self._closing)

    def _depart(self) -> None:
        self._departing.set()
        asyncio.get_running_loop().call_later(self._grace, self._closing.set)

    def _app(self, settings: Settings, url: str, host: str, create: PageFactory) -> FastAPI:
        client = Client(url, self._key)

        async def news() -> PageNotice | None:
            return news_of(await client.condition(), url)

        def about() -> str:
            return f"<p>It asks the server at {escape(url)}.</p>"

        owner = ServerHooks(lambda: client, news, about, self._departing, self._closing)
        limit = LoginRateLimit()
        page = Page(owner, PageSettings(settings.data, settings.keys, settings.max_body_bytes, limit), create)

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
            async with client, page.running():
                yield

        door = Door(host, settings.keys, is_page=page.owns, rate_limit=limit)
        guards = [
            Middleware(Security, door=door, max_body_bytes=settings.max_body_bytes),
            Middleware(PageFork, page=page),
        ]
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=guards, lifespan=lifespan)
        install_error_handlers(app)
        return app


def news_of(found: ServerHealth, url: str) -> PageNotice | None:
    """Why what was found at the address has no page to show, in a sentence; None where it is ready."""
    told = found.message.rstrip(".")
    match found.standing:
        case HealthStatus.READY:
            return None
        case HealthStatus.LOADING:
            activity = f": {found.activity.rstrip('.')}" if found.activity else ""
            return PageNotice(f"The server at {url} is loading its models{activity}.", max(found.done, 0), found.total)
        case HealthStatus.LEAVING:
            sentence = f"The server at {url} is shutting down: start it again with pellucid serve."
        case HealthStatus.FAILED:
            sentence = f"The server at {url} has failed and serves nothing any more: start it again."
        case HealthStatus.REFUSED:
            sentence = f"The server at {url} wants its API key: start pellucid webui with --api-key-file or PELLUCID_API_KEY."
        case HealthStatus.FORBIDDEN:
            sentence = f"The server at {url} lets nobody in by this address: {told}."
        case HealthStatus.FOREIGN:
            sentence = f"What answers at {url} is not a Pellucid server: give the address of one with --server."
        case HealthStatus.SILENT:
            sentence = f"What listens at {url} does not answer: {told}."
        case HealthStatus.ABSENT:
            sentence = f"No server answers at {url}: start one with pellucid serve, or give another address with --server."
    return PageNotice(sentence)


async def _problem(url: str, key: str | None) -> PageNotice | None:
    async with Client(url, key) as client:
        return news_of(await client.condition(), url)
