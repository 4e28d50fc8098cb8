"""Wire shapes of /models, as in llama.cpp's router."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Body, Reply
from pellucid.api.schema.info import LoadingStep, ModelObject
from pellucid.client.assistant_protocol import LoadState
from pellucid.vocabulary.model_facts import ModelFacts


class ModelNameRequest(Body):
    """A model to load or to unload."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": ""}]})

    model: str = Field(description="a name from /models; if empty, the default model")


class ModelLoadReply(Reply):
    success: Literal[True] = True


class LoadStatus(LoadingStep):
    """The state of a model and, during loading, the current step."""

    value: LoadState
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


class ModelFactsList(Reply):
    """The models of the catalog, then the further models on the server's machine."""

    object: Literal["list"] = "list"
    data: list[ModelFacts]
