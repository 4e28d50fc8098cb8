"""Wire shapes of /health."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.api.schema.common import ErrorDetail, Reply
from pellucid.api.schema.engines import EngineObject


class EnginesHealth(Reply):
    """The remote engines that compute this server's models."""

    ready: int = Field(description="the number of engines that get requests")
    total: int
    data: list[EngineObject] | None = Field(
        None, description="the reply of /v1/engines; omitted on a server with API keys, because /health requires no key"
    )


class HealthDetails(Reply):
    """More about a server that is ready."""

    engines: EnginesHealth


class Health(Reply):
    """The server is ready."""

    status: Literal["ok"] = "ok"
    pellucid: HealthDetails | None = Field(None, description="only on a server with remote engines")


class Unready(Reply):
    """The reason why the server is not ready and, during loading, the current step."""

    state: Literal["loading", "leaving", "failed", "away"] = Field(
        description="away: no remote engine computes one of the models now"
    )
    activity: str | None = Field(
        None, description="the current step, such as downloading, verifying, packing or waiting"
    )
    done: int | None = Field(None, description="finished bytes of the step")
    total: int | None = Field(None, description="total bytes of the step, if known")
    engines: EnginesHealth | None = Field(None, description="only if the state is away")


class UnreadyDetail(ErrorDetail):
    """An error with details."""

    pellucid: Unready


class UnreadyReply(Reply):
    """An error with details about the server's state."""

    error: UnreadyDetail
