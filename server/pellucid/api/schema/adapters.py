"""Wire shapes of /v1/adapters, and of vLLM's routes for adapters."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Body, Reply

_NAME = "of a folder in adapters/ in the server's cache folder"


class AdapterRequest(Body):
    """An adapter to load."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "my-project"}]})

    name: str = Field(description=f"the adapter: the name {_NAME}")
    model: str | None = Field(
        None, description="base model; by default the model that the adapter was made for, otherwise the first model"
    )


class LoadLoraRequest(Body):
    """An adapter to load, in vLLM's shape."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"lora_name": "my-project", "lora_path": "my-project", "load_inplace": True}]}
    )

    lora_name: str = Field(description="the adapter's new name")
    lora_path: str = Field(description=f"the name {_NAME}, or the folder's path")
    load_inplace: bool = Field(False, description="replace a loaded adapter with this name")


class UnloadLoraRequest(Body):
    """An adapter to unload, in vLLM's shape."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora_name": "my-project"}]})

    lora_name: str = Field(description="the adapter's name or id")


class AdapterObject(Reply):
    """A loaded or loadable adapter."""

    id: str | None = Field(description="the model name for requests, model:name; null if the adapter is not loaded")
    object: Literal["adapter"] = "adapter"
    name: str
    loaded: bool
    base: str | None = Field(
        description="the model for which the adapter is loaded; for an adapter that is not loaded, the model that the "
        "adapter was made for, if known"
    )
    rank: int | None
    scale: float | None = Field(description="scaling factor of the product of the adapter's matrices")
    targets: list[str] = Field(description="the kinds of matrices that the adapter changes")
    size: int | None = Field(description="size of the adapter's file, in bytes")
    problem: str | None = Field(
        None,
        description="the reason why the adapter cannot be loaded, or why some remote engines do not serve the adapter",
    )


class AdapterList(Reply):
    """Adapters, the loaded ones first."""

    object: Literal["list"] = "list"
    data: list[AdapterObject]
