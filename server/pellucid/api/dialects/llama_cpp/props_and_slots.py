"""/props and /slots: shapes and routes."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from pellucid.api.dialects.llama_cpp.generation import COMPLETION_TEMPERATURE
from pellucid.api.dialects.llama_cpp.generation_schema import Generation
from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.schema.common import Reply
from pellucid.api.server_state import state_of
from pellucid.door.json_body import JsonRoute
from pellucid.door.users import current_request
from pellucid.errors import NotSupportedError, UnavailableError
from pellucid.system.installed_version import installed_version


class DefaultSettings(Reply):
    """The defaults of a generation."""

    n_ctx: int = Field(description="maximum tokens of a sequence")
    params: dict[str, Any] = Field(description="the defaults of /completion")


class Modalities(Reply):
    """The model's inputs except text."""

    vision: bool
    audio: Literal[False] = False


class Props(Reply):
    """The properties of a model and of the server."""

    default_generation_settings: DefaultSettings
    total_slots: int
    chat_template: str
    model_alias: str
    modalities: Modalities
    build_info: str


class SlotReply(Reply):
    """A slot for one running sequence."""

    id: int
    model: str
    n_ctx: int
    n_tokens: int = Field(
        description="tokens in the slot's KV cache; 0 for a slot of another user, unless users share prefixes"
    )
    is_processing: bool
    n_decoded: int = Field(
        description="tokens generated so far by the slot's running sequence; 0 for a slot of another user, unless "
        "users share prefixes"
    )


router = APIRouter(tags=["Server", "llama.cpp"], route_class=JsonRoute)

_DEFAULTS = ("top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "n_predict", "seed")


@router.get("/props", responses={200: {"model": Props}, **MODEL_ERRORS})
async def props(request: Request, model: str | None = None, autoload: bool = False) -> Response:
    """Return the defaults of a model's generations.

    ``autoload`` has no effect, as the model is always loaded.
    """
    state = state_of(request)
    _, card = await state.find(model)
    reply = Props(
        default_generation_settings=DefaultSettings(
            n_ctx=card.context,
            params={"temperature": COMPLETION_TEMPERATURE}
            | {name: Generation.model_fields[name].default for name in _DEFAULTS},
        ),
        total_slots=len(state.statuses()[card.name].slots),
        chat_template=card.chat_template or "",
        model_alias=card.name,
        modalities=Modalities(vision=card.images),
        build_info=f"pellucid {installed_version()}",
    )
    return JSONResponse(reply.model_dump())


@router.get("/slots", responses={200: {"model": list[SlotReply]}, **MODEL_ERRORS})
async def slots(request: Request, model: str | None = None, fail_on_no_slot: bool = False) -> Response:
    """List the slots for running sequences, of all models or of a single model.

    With ``fail_on_no_slot=1``, the reply is 503 if no slot is free. The numbers of tokens of other
    users are 0, unless users share prefixes.
    """
    state = state_of(request)
    state.require_ready()
    if state.is_front:
        raise NotSupportedError("Remote engines compute the models and do not report slots: see /v1/engines.")
    cards = state.cards() if model is None else ((await state.find(model))[1],)
    statuses, salt = state.statuses(), current_request().cache_salt
    replies = [
        SlotReply(
            id=slot.id,
            model=card.name,
            n_ctx=card.context,
            n_tokens=slot.tokens if slot.cache_salt == salt else 0,
            is_processing=slot.busy,
            n_decoded=slot.generated if slot.cache_salt == salt else 0,
        )
        for card in cards
        if card.name in statuses
        for slot in statuses[card.name].slots
    ]
    if fail_on_no_slot and all(reply.is_processing for reply in replies):
        raise UnavailableError("No slot is free: try again later, or start the server with more --slots.")
    return JSONResponse([reply.model_dump() for reply in replies])
