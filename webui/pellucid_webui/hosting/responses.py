"""Turns Gradio's responses into ours: security headers, our own head and script of the page, compression, and what browsers may cache."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.api.errors import error_response
from pellucid.api.plain_page import GUARDS
from pellucid.errors import UnavailableError

FRONT = "/"
CONFIG = "/config"

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; media-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Browsers contact only this server, whatever a model generates.
Gradio needs inline scripts, and evaluates its templates.
"""

SOCIAL_METADATA = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
"""Social-media metadata of Gradio's page, with addresses of other servers."""

VIEWPORT = re.compile(rb'\s*<meta\s+name="viewport"[^>]*>')
"""Gradio's viewport, which an on-screen keyboard covers: the page has its own."""

PLACE_OF_PAGE = re.compile(rb"<gradio-app[^>]*>")
STARTING = b'<p id="pl-starting">Pellucid is starting.</p>'
"""Shown until Gradio has put the page next to it; see frame.css."""

NAMED_BY_CONTENT = re.compile(r"/assets/.+-[\w-]{8,9}\.(?:js|css)")
"""Files whose names change with their content, so that a browser need not request them again."""

COMPRESSION_LEVEL = 6
"""Half the time of zlib's highest level, for one percent more bytes."""


class PageResponses:
    """An ASGI application: Gradio's, with our headers, our head of the front page, our script, and large texts compressed."""

    def __init__(self, app: ASGIApp, early_head: str, script: str) -> None:
        self._app = app
        self._script = script.encode()
        self._script_path = f"/assets/pellucid-{hashlib.sha256(self._script).hexdigest()[:8]}.js"
        # Deferred scripts run in their order in the page, and so before Gradio's, which is a
        # module.
        self._early_head = f'{early_head}<script defer src="{self._script_path}"></script>\n'.encode()
        self._compressed = GZipMiddleware(self._respond, compresslevel=COMPRESSION_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Gradio compresses its scripts itself. A stream must not be compressed: its events would
        # wait for one another.
        respond = self._compressed if scope["path"] in (FRONT, CONFIG, self._script_path) else self._respond
        await respond(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update({"content-security-policy": POLICY} | GUARDS)
                if path == FRONT:
                    headers["cache-control"] = "no-store"
                elif message["status"] == 200 and NAMED_BY_CONTENT.fullmatch(path):
                    headers["cache-control"] = "private, max-age=31536000, immutable"
            await send(message)

        if path == self._script_path:
            await Response(self._script, media_type="text/javascript")(scope, receive, with_headers)
        else:
            await self._app(
                scope, receive, _FrontPageSend(with_headers, self._early_head) if path == FRONT else with_headers
            )


class _FrontPageSend:
    """A ``send`` for Gradio's front page, which removes its social-media metadata and adds our own head and first words."""

    def __init__(self, send: Send, early_head: bytes) -> None:
        self._send = send
        self._early_head = early_head
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = VIEWPORT.sub(b"", SOCIAL_METADATA.sub(b"", self._body)).replace(
            b"<head>", b"<head>\n" + self._early_head, 1
        )
        body = PLACE_OF_PAGE.sub(rb"\g<0>" + STARTING, body)
        headers = MutableHeaders(scope=self._start)
        headers["content-length"] = str(len(body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})


async def respond_until(app: ASGIApp, scope: Scope, receive: Receive, send: Send, end: asyncio.Event) -> None:
    """Answer a request until ``end`` at the latest. A response that has begun is ended properly."""
    begun = complete = False

    async def send_and_watch(message: Message) -> None:
        nonlocal begun, complete
        begun = True
        complete = message["type"] == "http.response.body" and not message.get("more_body", False)
        await send(message)

    async def answer() -> None:
        await app(scope, receive, send_and_watch)

    tasks = (asyncio.create_task(answer()), asyncio.create_task(end.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
            return
    finally:
        await cancel(tasks)
    if not begun:
        await error_response(UnavailableError("The server is shutting down."))(scope, receive, send)
    elif not complete:
        await send({"type": "http.response.body", "body": b""})


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks whose results are no longer needed."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
