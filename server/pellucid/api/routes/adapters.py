"""/v1/adapters, for loading and unloading LoRA adapters at run time, and vLLM's routes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pellucid.api.openapi_extras import ADAPTER_ERRORS, Responses
from pellucid.api.schema.adapters import AdapterList, AdapterObject, AdapterRequest, LoadLoraRequest, UnloadLoraRequest
from pellucid.api.server_state import state_of
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError, PermissionDeniedError
from pellucid.models.store import Store
from pellucid.text.loading_protocols import AdapterStatus

router = APIRouter(route_class=JsonRoute)

_NO_BODY: Responses = {status: ADAPTER_ERRORS[status] for status in (501, 503)}
_PLAIN_TEXT: Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **ADAPTER_ERRORS}


@router.get("/v1/adapters", tags=["Pellucid"], responses={200: {"model": AdapterList}, **_NO_BODY})
async def adapters(request: Request) -> Response:
    """List the loaded adapters, then the loadable adapters."""
    found = await asyncio.to_thread(state_of(request).require_adapters().list)
    return JSONResponse(AdapterList(data=[_object(one) for one in found]).model_dump())


@router.post("/v1/adapters", tags=["Pellucid"], responses={200: {"model": AdapterObject}, **ADAPTER_ERRORS})
async def load(body: AdapterRequest, request: Request) -> Response:
    """Load an adapter as an additional model, with the weights of the base model.

    Running answers are not disturbed. A loaded adapter is replaced by the current contents of its
    folder, and running answers continue. Remote engines read the folder themselves. ``problem``
    names engines that cannot load the adapter. An engine with running answers of the adapter is not
    updated (503).
    """
    status = await _load(request, body.name, None, body.model)
    return JSONResponse(_object(status).model_dump())


@router.delete(
    "/v1/adapters/{id:path}",
    tags=["Pellucid"],
    responses={200: {"model": AdapterObject}, **_NO_BODY, 404: ADAPTER_ERRORS[404]},
)
async def unload(id: str, request: Request) -> Response:
    """Unload an adapter by its id or name.

    Running answers of the adapter continue; new requests for the adapter return 404.
    """
    return JSONResponse(_object(await _unload(request, id), loaded=False).model_dump())


@router.post("/v1/load_lora_adapter", tags=["vLLM"], response_class=Response, responses=_PLAIN_TEXT)
async def load_lora_adapter(body: LoadLoraRequest, request: Request) -> Response:
    """Load an adapter, as POST /v1/adapters does.

    An adapter that is already loaded is refused with 400, unless ``load_inplace`` is set. The path
    must be a folder in the server's folder of adapters.
    """
    adapters = state_of(request).require_adapters()
    if not body.load_inplace and any(one.name == body.lora_name and one.id is not None for one in adapters.list()):
        raise InvalidRequestError(
            f"The adapter {body.lora_name} is already loaded: send load_inplace to replace it.", param="lora_name"
        )
    status = await _load(request, _stored_name(adapters.store, body.lora_path), body.lora_name, None)
    return PlainTextResponse(
        f"Success: LoRA adapter '{status.name}' added successfully. {status.problem or ''}".rstrip()
    )


@router.post("/v1/unload_lora_adapter", tags=["vLLM"], response_class=Response, responses=_PLAIN_TEXT)
async def unload_lora_adapter(body: UnloadLoraRequest, request: Request) -> Response:
    """Unload an adapter, as DELETE /v1/adapters does."""
    status = await _unload(request, body.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{status.name}' removed successfully.")


async def _load(request: Request, folder: str, name: str | None, model: str | None) -> AdapterStatus:
    state = state_of(request)
    status = await state.require_adapters().load(folder, name=name, model=model)
    state.note_models()
    return status


async def _unload(request: Request, id: str) -> AdapterStatus:
    state = state_of(request)
    status, _ = await state.require_adapters().unload(id)
    state.note_models()
    return status


def _stored_name(store: Store, path: str) -> str:
    """Return the name of an adapter, given the adapter's path.

    Raises PermissionDeniedError for external paths, because only the user who starts the server
    decides which files are read.
    """
    given, folder = Path(path), store.adapters
    if not given.is_absolute():
        return path
    if given.parent != folder:
        raise PermissionDeniedError(
            f"Adapters are loaded only from {folder}: put the adapter there, or start the server with --adapter."
        )
    return given.name


def _object(one: AdapterStatus, *, loaded: bool | None = None) -> AdapterObject:
    card = one.card
    is_loaded = one.id is not None if loaded is None else loaded
    return AdapterObject(
        id=one.id if is_loaded else None,
        name=one.name,
        loaded=is_loaded,
        base=one.base or (card.base if card else None),
        rank=card.rank if card else None,
        scale=card.scale if card else None,
        targets=list(card.targets) if card else [],
        size=card.size if card else None,
        problem=one.problem,
    )
