"""Wire shapes of /models, as in llama.cpp's router."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Body, Reply
from pellucid.api.schema.info import ModelObject
from pellucid.vocabulary.model_load import LoadState


class ModelNameRequest(Body):
    """A model to load or to unload."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": ""}]})

    model: str = Field(description="a name from /models; if empty, the default model")


class ModelLoadReply(Reply):
    success: Literal[True] = True


class LoadStatus(Reply):
    value: LoadState
    activity: str | None = Field(None, description="the current step of the loading, for example packing")
    done: int = Field(description="finished bytes of the step")
    total: int | None = Field(None, description="total bytes of the step, if known")
    expires: float | None = Field(
        None, description="when the model is unloaded without a further request, in seconds since 1970"
    )


class LoadableModel(ModelObject):
    """A model that is served, as in /v1/models, or could be loaded."""

    status: LoadStatus


class LoadableModels(Reply):
    """The served models, the default model first, then the further models on this machine."""

    object: Literal["list"] = "list"
    data: list[LoadableModel]
