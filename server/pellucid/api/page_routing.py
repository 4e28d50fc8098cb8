"""Routes requests between the web page and the API.

The page owns its paths and checks the key for them itself.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send


class MountedPage(Protocol):
    """An ASGI application for the paths that it owns, none of which is the API's.

    On a server with a key it must check the key itself, as the API's door does not do so for these
    paths.
    """

    def owns(self, path: str) -> bool:
        """Return whether the page answers a path."""
        ...

    def watches(self, path: str) -> bool:
        """Return whether an open page polls a path only to see its server's health, which does not count as use."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """Return the context in which the server runs."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class PageFork:
    """ASGI middleware that sends the page's paths to the page and all others to the API."""

    def __init__(self, app: ASGIApp, page: MountedPage) -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and self._page.owns(scope["path"])
        await (self._page if ours else self._app)(scope, receive, send)
