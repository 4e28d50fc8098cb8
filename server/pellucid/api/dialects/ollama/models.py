"""/api/version, /api/tags, /api/ps and /api/show: shapes and routes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from pellucid.api.dialects.ollama.common import (
    OLLAMA_ERRORS,
    OLLAMA_LIST_ERRORS,
    OLLAMA_MODEL_ERRORS,
    Absent,
    OllamaQuery,
)
from pellucid.api.dialects.ollama.fields import timestamp
from pellucid.api.dialects.ollama.model_aliases import family, find_by_ollama_name, listed_name, parameter_size
from pellucid.api.schema.common import Reply
from pellucid.api.server_state import ServerState, state_of
from pellucid.door.event_stream import json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.system.installed_version import installed_version
from pellucid.text.assistant import LocalAssistant
from pellucid.text.query_ids import chat_text
from pellucid.text.tool_calls.call_reader import call_format
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery


class OllamaShowRequest(OllamaQuery):
    """A model to describe."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": ""}]})

    name: str | None = Field(None, description="older name of model")
    verbose: bool = Field(False, description="accepted; the description is always the same")
    system: Absent = Field(None, description="not supported")
    template: Absent = Field(None, description="not supported")
    options: None = Field(None, description="not supported")


class OllamaVersion(Reply):
    """The compatible version of ollama (clients require a minimum), and Pellucid's version."""

    version: str
    pellucid: str


class OllamaDetails(Reply):
    """Properties of a model. Empty texts are unknown."""

    parent_model: str = Field(description="the base of a model with an adapter")
    format: str
    family: str
    families: list[str]
    parameter_size: str = Field(description="as in the model's name")
    quantization_level: str


class OllamaModel(Reply):
    """A served model."""

    name: str = Field(description="ollama's spelling of the name")
    model: str = Field(description="the same")
    modified_at: str = Field(description="when the server started")
    size: int = Field(description="memory of the weights, in bytes")
    digest: str = Field(description="SHA-256 of the name and revision in /v1/models")
    details: OllamaDetails


class OllamaRunningModel(OllamaModel):
    """A loaded model."""

    expires_at: str = Field(description="when the model is unloaded without a further request")
    size_vram: int = Field(description="bytes of the weights on a GPU")
    context_length: int


class OllamaModelList(Reply):
    """The served models, the default model first."""

    models: list[OllamaModel]


class OllamaRunningList(Reply):
    """The loaded models, the default model first."""

    models: list[OllamaRunningModel]


Capability = Literal["completion", "insert", "tools", "thinking", "vision"]


class OllamaDescription(Reply):
    """A model and its capabilities."""

    modelfile: str
    parameters: str
    template: str = Field(
        description="the text that the model reads for a prompt, as a Go template; `.Suffix` is in the template if "
        "the model fills gaps"
    )
    license: str
    details: OllamaDetails
    model_info: dict[str, Any] = Field(
        description="`pellucid.context_length` is the context in tokens; `general.architecture` only names the prefix "
        "of this key, as in ollama"
    )
    capabilities: list[Capability]
    modified_at: str
    pellucid: str = Field(description="the name in /v1/models")


router = APIRouter(tags=["ollama"], route_class=JsonRoute)

API_LEVEL = "0.12.11"
"""The version of ollama that introduced ``logprobs``, the newest supported feature."""

NEVER = "9999-12-31T23:59:59Z"

_PROMPT = "{{ .Prompt }}"
_SYSTEM = "{{ .System }}"
_SUFFIX = "{{ .Suffix }}"


@router.get("/api/version", responses={200: {"model": OllamaVersion}, **OLLAMA_ERRORS})
async def version() -> Response:
    """Return the compatible version of ollama, and Pellucid's version."""
    return json_response(OllamaVersion(version=API_LEVEL, pellucid=installed_version()))


@router.get("/api/tags", responses={200: {"model": OllamaModelList}, **OLLAMA_LIST_ERRORS})
async def tags(request: Request) -> Response:
    """List the served models by ollama's names, the default model first."""
    state = state_of(request)
    state.require_ready()
    return json_response(OllamaModelList(models=[OllamaModel(**_entry(state, card)) for card in state.cards()]))


@router.get("/api/ps", responses={200: {"model": OllamaRunningList}, **OLLAMA_LIST_ERRORS})
async def running(request: Request) -> Response:
    """List the loaded models."""
    state = state_of(request)
    served = state.require_ready().models
    loads = {one.name: one.expires for one in await state.loader.list()} if state.loader else {}
    models = [
        OllamaRunningModel(
            **_entry(state, one.card()),
            expires_at=_expiry(loads.get(one.name)),
            size_vram=one.model.facts.weight_bytes if one.model.facts.device.startswith("cuda") else 0,
            context_length=one.context,
        )
        for one in served.all()
    ]
    return json_response(OllamaRunningList(models=models))


@router.post("/api/show", responses={200: {"model": OllamaDescription}, **OLLAMA_MODEL_ERRORS})
async def show(body: OllamaShowRequest, request: Request) -> Response:
    """Describe a model.

    The reply has the context, the licence, the prompt format, and the capabilities (``insert`` for
    filling gaps, ``tools`` for calling tools).
    """
    state = state_of(request)
    assistant, card = await find_by_ollama_name(state, body.model or body.name)
    return json_response(
        OllamaDescription(
            modelfile=f"FROM {card.name}\nPARAMETER num_ctx {card.context}\n",
            parameters=f"num_ctx {card.context}",
            template=await _template(assistant, card),
            license=card.licence or "",
            details=_details(card),
            model_info={
                "general.architecture": "pellucid",
                "general.basename": family(card.name),
                "general.description": card.description,
                "pellucid.context_length": card.context,
            },
            capabilities=_capabilities(card),
            modified_at=_started(state),
            pellucid=card.name,
        )
    )


def _expiry(seconds: float | None) -> str:
    return timestamp(datetime.fromtimestamp(seconds, UTC)) if seconds else NEVER


async def _template(assistant: LocalAssistant, card: ModelCard) -> str:
    """Return the model's prompt format, with names of Go's templates in place of the texts."""
    plain = await _chat_prompt(assistant, card) if card.chat else _PROMPT
    if not card.infill:
        return plain
    gap = await assistant.infill_prompt(CompletionQuery(_PROMPT, _SUFFIX, model=card.name))
    return f"{{{{ if .Suffix }}}}{gap}{{{{ else }}}}{plain}{{{{ end }}}}"


async def _chat_prompt(assistant: LocalAssistant, card: ModelCard) -> str:
    served, question = assistant.models.find(card.name), Message("user", _PROMPT)
    try:
        return await chat_text(served, [Message("system", _SYSTEM), question])
    except InvalidRequestError:  # Some templates refuse system messages.
        return await chat_text(served, [question])


def _capabilities(card: ModelCard) -> list[Capability]:
    found: list[tuple[Capability, bool]] = [
        ("completion", True),
        ("insert", card.infill),
        ("tools", _calls_tools(card)),
        ("thinking", card.reasoning),
        ("vision", card.images),
    ]
    return [capability for capability, has_it in found if has_it]


def _calls_tools(card: ModelCard) -> bool:
    """Return whether the model's template supports tools, with calls in a known format."""
    source = card.chat_template or ""
    try:
        call_format(source, card.name)
    except InvalidRequestError:
        return False
    return "tools" in source


def _entry(state: ServerState, card: ModelCard) -> dict[str, Any]:
    name = listed_name(card.name)
    return {
        "name": name,
        "model": name,
        "modified_at": _started(state),
        "size": card.weight_bytes,
        "digest": hashlib.sha256(f"{card.name}\0{card.revision or ''}".encode()).hexdigest(),
        "details": _details(card),
    }


def _details(card: ModelCard) -> OllamaDetails:
    return OllamaDetails(
        parent_model=card.base or "",
        format="",
        family=family(card.name),
        families=[family(card.name)],
        parameter_size=parameter_size(card.name),
        quantization_level="",
    )


def _started(state: ServerState) -> str:
    return timestamp(datetime.fromtimestamp(state.started, UTC))
