"""Modules with routes are imported and included at the first request for their paths."""

from __future__ import annotations

import asyncio
from importlib import import_module

import httpx
import pytest
from fastapi import FastAPI
from starlette.middleware import Middleware

from pellucid.api.app import ROUTES
from pellucid.api.routes import engines, usage
from pellucid.api.routes_on_demand import RouteImports, RoutesOnDemand
from support.servers.http_servers import scripted_state


@pytest.mark.parametrize("module", ROUTES)
def test_paths_include_their_module(module: str) -> None:
    """Each path of a module includes this module, and no further module."""
    routes = RoutesOnDemand(FastAPI(), ROUTES)
    paths = [route.path for route in import_module(module).router.routes]

    assert paths
    assert {path: routes.modules_for(path) for path in paths} == {path: [module] for path in paths}


async def test_first_request_includes_the_routes() -> None:
    """Simultaneous first requests are answered, and include the routes of their path once."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, middleware=[Middleware(RouteImports)])
    routes = RoutesOnDemand(app, {usage.__name__: ("/v1/usage",), engines.__name__: ("/v1/engines",)})
    app.state.server, app.state.routes = scripted_state(), routes
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        answers = await asyncio.gather(*(http.get("/v1/engines") for _ in range(3)), http.post("/v1/engines"))
        other = await http.get("/v1/engine")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 405]
    assert other.status_code == 404
    assert len(app.router.routes) == 1
    assert routes.modules_for("/v1/engines") == []
    assert routes.modules_for("/v1/usage/") == [usage.__name__]
