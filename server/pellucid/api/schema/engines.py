"""Wire shapes of /v1/engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.api.schema.common import Reply


class EngineObject(Reply):
    """A remote engine for models of this server."""

    id: str = Field(description="the engine's address")
    object: Literal["engine"] = "engine"
    state: Literal["ready", "draining", "away"] = Field(
        description="away: the engine gets no requests, for the reason in problem"
    )
    problem: str | None = Field(None, description="the reason why the engine gets no requests")
    version: str = Field(description="the engine's version of vLLM")
    models: list[str] = Field(
        description="the models of this server that the engine computes, including models with an adapter"
    )
    adapter_problems: dict[str, str] = Field(
        description="for each model with an adapter that the engine does not serve: the reason"
    )
    running: int = Field(description="requests running on the engine")
    waiting: int = Field(description="requests waiting for the engine")
    lost: int = Field(description="requests lost with the engine, and resumed by a different engine if possible")


class EngineList(Reply):
    """The remote engines; empty if the server itself computes the models."""

    object: Literal["list"] = "list"
    data: list[EngineObject]
