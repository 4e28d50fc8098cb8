"""The page for people, as the API sees it: paths that are its own, behind a lock of its own."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send


class MountedPage(Protocol):
    """An ASGI application for the paths that it owns, none of which is the API's.

    Where there is a key it lets nobody in who has not given it: its paths are past the door already.
    """

    def owns(self, path: str) -> bool:
        """Whether it answers a path."""
        ...

    def watches(self, path: str) -> bool:
        """Whether an open page asks for a path only to see that its server is there: that keeps no server awake."""
        ...

    def running(self) -> AbstractAsyncContextManager[None]:
        """While the server runs."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class PageFork:
    """ASGI middleware that sends the page's paths to the page, and so never past the key to the API."""

    def __init__(self, app: ASGIApp, page: MountedPage) -> None:
        self._app = app
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and self._page.owns(scope["path"])
        await (self._page if ours else self._app)(scope, receive, send)
