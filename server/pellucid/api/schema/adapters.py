"""Adapters on the wire: our routes, and vLLM's two."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Body, Reply

_NAME = "of a folder in adapters/ of the server's cache folder"


class AdapterRequest(Body):
    """An adapter to load."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "my-project"}]})

    name: str = Field(description=f"the adapter: the name {_NAME}")
    model: str | None = Field(None, description="the model to load it with; by default the one that it was made for, else the first")


class LoadLoraRequest(Body):
    """An adapter to load, as vLLM has it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"lora_name": "my-project", "lora_path": "my-project", "load_inplace": True}]}
    )

    lora_name: str = Field(description="what to call the adapter")
    lora_path: str = Field(description=f"the name {_NAME}, or that folder's path")
    load_inplace: bool = Field(False, description="replace an adapter of this name that is loaded already")


class UnloadLoraRequest(Body):
    """An adapter to unload, as vLLM has it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lora_name": "my-project"}]})

    lora_name: str = Field(description="what the adapter is called, or its id")


class AdapterObject(Reply):
    """An adapter that is loaded, or that could be."""

    id: str | None = Field(description="the model to ask for, model:name; null where it is not loaded")
    object: Literal["adapter"] = "adapter"
    name: str
    loaded: bool
    base: str | None = Field(description="the model that it is loaded with, else the one that it was made for, where that is known")
    rank: int | None
    scale: float | None = Field(description="what the product of its matrices is multiplied by")
    targets: list[str] = Field(description="the kinds of matrices that it changes")
    size: int | None = Field(description="of its file, in bytes")
    problem: str | None = Field(None, description="why it cannot be loaded")


class AdapterList(Reply):
    """Adapters, those that are loaded first."""

    object: Literal["list"] = "list"
    data: list[AdapterObject]
