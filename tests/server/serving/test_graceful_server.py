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
    """A connection in use at shutdown ends with its next answer: otherwise a client that keeps asking would keep it open for ever."""

    async def shutdown(*_: object) -> None:
        """Uvicorn's own, which wants to have been started."""

    monkeypatch.setattr(uvicorn.Server, "shutdown", shutdown)
    left: list[bool] = []
    server = GracefulServer(PlainTextResponse("yes"), load_settings(), lambda: left.append(True), asyncio.Event())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.config.app), base_url="http://server") as client:  # type: ignore[arg-type]
        assert "connection" not in (await client.get("/")).headers
        await server.shutdown()
        answer = await client.get("/")
    assert left == [True]
    assert (answer.text, answer.headers["connection"]) == ("yes", "close")
