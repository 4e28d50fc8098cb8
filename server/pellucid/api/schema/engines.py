"""Wire shapes of /v1/engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.api.schema.common import Reply


class EngineObject(Reply):
    """A remote engine for models of this server."""

    id: str = Field(description="its address")
    object: Literal["engine"] = "engine"
    state: Literal["ready", "draining", "away"] = Field(
        description="away: it gets no requests, for the reason in problem"
    )
    problem: str | None = Field(None, description="why it gets no requests")
    version: str = Field(description="its version of vLLM")
    models: list[str] = Field(description="the models of this server that it computes, those with an adapter too")
    adapter_problems: dict[str, str] = Field(description="why it does not serve some models with an adapter, by model")
    running: int = Field(description="requests that it has")
    waiting: int = Field(description="requests that wait for it")
    lost: int = Field(description="requests that were lost with it, and resumed by another engine if there was one")


class EngineList(Reply):
    """The remote engines; empty if the server itself computes the models."""

    object: Literal["list"] = "list"
    data: list[EngineObject]
