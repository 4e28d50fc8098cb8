"""Routing between the web page and the API. The page checks the key for its own paths."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send


class MountedPage(Protocol):
    """An ASGI application for the page's own paths, separate from the API's paths.

    On a server with a key, the page must check the key, because the API's door skips these paths.
    """

    def owns(self, path: str) -> bool: ...

    def watches(self, path: str) -> bool:
        """Return whether an open page polls a path only for the server's health (no use)."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class PageFork:
    """ASGI middleware that sends the page's paths to the page, and all other paths to the API."""

    def __init__(self, app: ASGIApp, page: MountedPage) -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and self._page.owns(scope["path"])
        await (self._page if ours else self._app)(scope, receive, send)
