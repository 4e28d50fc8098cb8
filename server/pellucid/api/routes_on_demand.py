"""Modules with routes are imported at the first request for their paths.

Importing all of them takes half a second, and a client uses few routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import import_module

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send


class RoutesOnDemand:
    """The modules whose ``router`` is not yet included in ``app``.

    ``paths`` maps the name of a module to the first parts of its paths, without parameters.
    """

    def __init__(self, app: FastAPI, paths: Mapping[str, Sequence[str]]) -> None:
        self._app = app
        self._paths = dict(paths)

    def modules_for(self, path: str) -> list[str]:
        """Return the modules to include before the answer to a request for a path."""
        return [
            module
            for module, starts in self._paths.items()
            if any(path == start or path.startswith(f"{start}/") for start in starts)
        ]

    def include(self, module: str) -> None:
        if self._paths.pop(module, None) is not None:  # Perhaps included by a simultaneous request.
            self._app.include_router(import_module(module).router)

    def include_all(self) -> None:
        for module in tuple(self._paths):
            self.include(module)


class RouteImports:
    """ASGI middleware that includes the routes for the path of a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            routes: RoutesOnDemand = scope["app"].state.routes
            for module in routes.modules_for(scope["path"]):
                await asyncio.to_thread(import_module, module)  # Running answers continue.
                routes.include(module)
        await self._app(scope, receive, send)
