"""/v1/engines, a list of the remote engines. The list is set at the server, not by requests."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.schema.engines import EngineList, EngineObject
from pellucid.api.server_state import ServerState, state_of
from pellucid.door.json_body import JsonRoute

router = APIRouter(route_class=JsonRoute)


@router.get("/v1/engines", tags=["Pellucid"], responses={200: {"model": EngineList}, 503: MODEL_ERRORS[503]})
async def engines(request: Request) -> Response:
    """List the remote engines of this server's models, with their state."""
    state = state_of(request)
    state.require_ready()
    return JSONResponse(EngineList(data=engine_objects(state)).model_dump())


def engine_objects(state: ServerState) -> list[EngineObject]:
    return [
        EngineObject(
            id=one.url,
            state=one.state,
            problem=one.problem,
            version=one.version,
            models=list(one.models),
            adapter_problems=dict(one.adapter_problems),
            running=one.running,
            waiting=one.waiting,
            lost=one.lost,
        )
        for one in state.engines()
    ]
