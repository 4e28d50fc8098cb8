"""/models, for loading and unloading models at run time, as in llama.cpp's router."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.routes.info import model_objects, step_fields
from pellucid.api.schema.info import ModelObject
from pellucid.api.schema.model_loading import (
    LoadableModel,
    LoadableModels,
    LoadStatus,
    ModelFactsList,
    ModelLoadReply,
    ModelNameRequest,
)
from pellucid.api.server_state import state_of
from pellucid.client.assistant_protocol import ModelLoad
from pellucid.door.json_body import JsonRoute

router = APIRouter(tags=["llama.cpp"], route_class=JsonRoute)


@router.get("/models", responses={200: {"model": LoadableModels}})
async def models(request: Request) -> Response:
    """List the served models, then the further models on this machine, with their states."""
    state = state_of(request)
    served = {one.id: one for one in model_objects(state)}
    loads = [ModelLoad(name, "loaded") for name in served] if state.loader is None else await state.loader.list()
    if state.phase == "loading":
        loads = [ModelLoad(name, "loading", state.progress.now) for name in served]
    data = []
    for load in loads:
        model = served.get(load.name) or ModelObject(id=load.name, created=state.started, meta={"state": load.state})
        status = LoadStatus(value=load.state, expires=load.expires, **step_fields(load.step))
        data.append(LoadableModel(**model.model_dump(), status=status))
    return JSONResponse(LoadableModels(data=data).model_dump())


@router.get("/models/catalog", tags=["Pellucid"], responses={200: {"model": ModelFactsList}})
async def catalog(request: Request) -> Response:
    """Return the facts of `pellucid models list`; no facts if the server loads no models."""
    loader = state_of(request).loader
    return JSONResponse(ModelFactsList(data=[] if loader is None else list(await loader.facts())).model_dump())


@router.post("/models/load", responses={200: {"model": ModelLoadReply}, **MODEL_ERRORS})
async def load(body: ModelNameRequest, request: Request) -> Response:
    """Load a model, and reply after the loading. If memory is short, models are unloaded."""
    await state_of(request).find(body.model, strict=True)
    return JSONResponse(ModelLoadReply().model_dump())


@router.post("/models/unload", responses={200: {"model": ModelLoadReply}, **MODEL_ERRORS})
async def unload(body: ModelNameRequest, request: Request) -> Response:
    """Unload a model after the running answers; the next request loads the model again."""
    state = state_of(request)
    await state.require_loader().unload(body.model or state.require_ready().models.default)
    return JSONResponse(ModelLoadReply().model_dump())
