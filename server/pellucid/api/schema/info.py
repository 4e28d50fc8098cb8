"""Wire shapes of /health and /v1/models."""

from __future__ import annotations

from typing import Any, Literal

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


class LoadingStep(Reply):
    """The current step of a model's loading; models that are loaded answer meanwhile."""

    activity: str | None = Field(
        None, description="the current step, such as downloading, verifying, packing or waiting"
    )
    done: int | None = Field(None, description="finished bytes of the step")
    total: int | None = Field(None, description="total bytes of the step, if known")


class HealthDetails(Reply):
    """More about a server that is ready."""

    engines: EnginesHealth | None = Field(None, description="only on a server with remote engines")
    loading: LoadingStep | None = Field(None, description="only while a model is loaded on request")


class Health(Reply):
    """The server is ready."""

    status: Literal["ok"] = "ok"
    pellucid: HealthDetails | None = None


class Unready(LoadingStep):
    """The reason why the server is not ready and, during loading, the current step."""

    state: Literal["loading", "leaving", "failed", "away"] = Field(
        description="away: no remote engine computes one of the models now"
    )
    engines: EnginesHealth | None = Field(None, description="only if the state is away")


class UnreadyDetail(ErrorDetail):
    """An error with details."""

    pellucid: Unready


class UnreadyReply(Reply):
    """An error with details about the server's state."""

    error: UnreadyDetail


class ModelObject(Reply):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["pellucid"] = "pellucid"
    meta: dict[str, Any] = Field(
        description="state (loading, ready, or unloaded until the next request), and once loaded n_ctx (tokens of "
        "context), infill, files (whether an "
        "infill may include text of other files), next_edit (the form in which the model was trained to propose next "
        "edits, or null), experts (whether /v1/score reports the experts of tokens), reasoning (whether "
        "the model can reason before it answers), images (whether messages may have images), chat, chat_template "
        "(Jinja, or null), memory (weights, cache and cache_limit, in bytes), "
        "description, licence, revision (identifies these weights among weights with the same name), calibration (the "
        "findings of `pellucid calibrate`, else the built-in ones, or null) and calibration_note (the reason why the "
        "findings of `pellucid calibrate` are not used), edit_calibration and edit_calibration_note (the same for "
        "next edits; if this model has no next-edit calibration, the default model's), and for a model with an "
        "adapter the names of its base and adapter (memory.weights then counts only the adapter). On a server with "
        "remote engines also engines: the addresses of the engines that compute this model now"
    )


class ModelList(Reply):
    """All served models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]
