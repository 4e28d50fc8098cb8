"""A server that shuts down gracefully."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from pellucid.config import load_settings
from pellucid.serving.graceful_server import GracefulServer


async def test_last_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At shutdown, a used connection ends with the next answer: clients cannot block the exit."""

    async def shutdown(*_: object) -> None:
        """The shutdown of Uvicorn needs a started server."""

    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    left: list[bool] = []
    server = GracefulServer(PlainTextResponse("yes"), load_settings(), lambda: left.append(True), asyncio.Event())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.config.app), base_url="http://server") as client:  # type: ignore[arg-type]
        assert "connection" not in (await client.get("/")).headers
        await server.shutdown()
        answer = await client.get("/")
    assert left == [True]
    assert (answer.text, answer.headers["connection"]) == ("yes", "close")
