"""The page alone, in a process without torch, for a remote model server."""

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

from pellucid.api.page_routing import PageFork
from pellucid.client.address_settings import is_loopback, url_of
from pellucid.client.assistant_protocol import shared
from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, ServerHealth, problem_at
from pellucid.config import Settings
from pellucid.door.access_control import Door, Security
from pellucid.door.error_replies import install_error_handlers
from pellucid.door.login_rate_limit import LoginRateLimit
from pellucid.door.plain_page import PageNotice, loading_notice
from pellucid.errors import ConfigError
from pellucid.serving.graceful_server import GracefulServer
from pellucid.serving.listening_socket import listen
from pellucid_webui.hosting.gradio_host import PageFactory
from pellucid_webui.hosting.mount import Page, PageSettings, ServerHooks

REMEDIES = {
    HealthStatus.LEAVING: "start it again with pellucid serve",
    HealthStatus.FAILED: "start it again",
    HealthStatus.REFUSED: "start pellucid webui with --api-key-file or PELLUCID_API_KEY",
    HealthStatus.FOREIGN: "give the address of a Pellucid server with --server",
    HealthStatus.ABSENT: "start one with pellucid serve, or give another address with --server",
}
"""Remedies for servers without a page. Further problems have their own message."""


def run(settings: Settings, url: str, host: str, port: int, *, key_is_for_url: bool = False) -> None:
    """Serve the page on ``host`` and ``port`` until a signal; the settings name the model server.

    The settings' key is sent only to the settings' server, unless ``key_is_for_url`` is set.
    """
    if find_spec("gradio") is None:
        raise ConfigError('The page needs gradio: run pip install "pellucid[webui]".')
    if settings.key is None and not is_loopback(host):
        raise ConfigError(
            f"Other machines can reach the host {host}: set an API key (--api-key-file or PELLUCID_API_KEY)."
        )
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    key = settings.key if key_is_for_url else settings.key_for(url)
    problem = asyncio.run(_problem(url, key))
    with listen(host, port) as listener:
        server = PageServer(settings, url, host, key=key)
        typer.echo(f"The page is at {url_of(host, port)}/ and uses the server at {url}. Press Ctrl-C to stop it.")
        if problem is not None:
            typer.echo(problem.sentence, err=True)
        server.run(sockets=[listener])


class PageServer(GracefulServer):
    def __init__(
        self, settings: Settings, url: str, host: str, create: PageFactory | None = None, *, key: str | None = None
    ) -> None:
        self._grace = settings.grace
        self._key = key
        self._departing, self._closing = asyncio.Event(), asyncio.Event()
        super().__init__(self._app(settings, url, host, create), settings, self._depart, self._closing)

    def _depart(self) -> None:
        self._departing.set()
        asyncio.get_running_loop().call_later(self._grace, self._closing.set)

    def _app(self, settings: Settings, url: str, host: str, create: PageFactory | None) -> FastAPI:
        client = Client(url, self._key)

        async def notice() -> PageNotice | None:
            return notice_of(await client.server_health(), url)

        def about() -> str:
            return f"<p>This page uses the server at {escape(url)}.</p>"

        hooks = ServerHooks(
            lambda: shared(client), lambda: client.model_loads, notice, about, self._departing, self._closing
        )
        limit, keys = LoginRateLimit(), settings.server_keys()
        page = Page(hooks, PageSettings(settings.data, keys, settings.max_body_bytes, limit), create)

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
            async with client, page.running():
                yield

        door = Door(host, keys, is_page=page.owns, rate_limit=limit)
        guards = [
            Middleware(Security, door=door, max_body_bytes=settings.max_body_bytes),
            Middleware(PageFork, page=page),
        ]
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=guards, lifespan=lifespan)
        install_error_handlers(app)
        return app


def notice_of(health: ServerHealth, url: str) -> PageNotice | None:
    """Return the reason for no page, or None for a ready server.

    If a model has no engine, the page is shown for the remaining models.
    """
    status = health.status
    if status in (HealthStatus.READY, HealthStatus.AWAY):
        return None
    problem = problem_at(url, status)
    if status is HealthStatus.LOADING:
        return loading_notice(problem, health.step)
    return PageNotice(f"{problem}: {REMEDIES.get(status) or health.message.rstrip('.')}.")


async def _problem(url: str, key: str | None) -> PageNotice | None:
    async with Client(url, key) as client:
        return notice_of(await client.server_health(), url)
