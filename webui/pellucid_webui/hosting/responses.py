"""Gradio's responses with added headers, head, module and compression."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.door.plain_page import GUARDS

FRONT = "/"
CONFIG = "/config"

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; media-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
"""Browsers contact only this server. Gradio has inline scripts, and evaluates ``js`` of events."""

SOCIAL_METADATA = re.compile(rb'\s*<meta\s+(?:property="og:|name="twitter:)[^>]*>')
"""Contains addresses of foreign servers."""

VIEWPORT = re.compile(rb'\s*<meta\s+name="viewport"[^>]*>')
"""An on-screen keyboard covers Gradio's viewport; the page defines a better viewport."""

PLACE_OF_PAGE = re.compile(rb"<gradio-app[^>]*>")
STARTING = b'<p id="pl-starting">Pellucid is starting.</p>'
"""Shown until Gradio has inserted the page; see frame.css."""

NAMED_BY_CONTENT = re.compile(r"/assets/.+-[\w-]{8,9}\.(?:js|css)")
"""Files with names that depend on the content: browsers may cache such files forever."""

COMPRESSION_LEVEL = 6
"""Half the time of zlib's highest level, for one percent more bytes."""


class PageResponses:
    """Gradio's ASGI application with added headers, head, module and compression.

    The module's path contains a digest of its text, so that browsers may cache the module forever.
    Gradio's events import the module as ``pellucid``.
    """

    def __init__(self, app: ASGIApp, early_head: str, module: str) -> None:
        self._app = app
        self._module = module
        self._module_path = f"/assets/pellucid-{hashlib.sha256(module.encode()).hexdigest()[:8]}.js"
        if module:
            early_head += (
                f'<script type="importmap">{json.dumps({"imports": {"pellucid": self._module_path}})}</script>\n'
                f'<script type="module" src="{self._module_path}"></script>\n'
            )
        self._early_head = early_head.encode()
        self._compressed = GZipMiddleware(self._respond, compresslevel=COMPRESSION_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Gradio compresses its scripts itself. Compression would delay the events of a stream.
        is_compressed = scope["path"] in (FRONT, CONFIG, self._module_path)
        await (self._compressed if is_compressed else self._respond)(scope, receive, send)

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

        if path == self._module_path:
            await Response(self._module, media_type="text/javascript")(scope, receive, with_headers)
        else:
            await self._app(
                scope, receive, _FrontPageSend(with_headers, self._early_head) if path == FRONT else with_headers
            )


class _FrontPageSend:
    """Sends Gradio's front page with an edited head and a first text."""

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


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
