"""/v1/usage, for the caller's usage."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.schema.usage import UserUsage
from pellucid.api.server_state import state_of
from pellucid.door.access_control import OWNER
from pellucid.door.json_body import JsonRoute

router = APIRouter(route_class=JsonRoute)


@router.get("/v1/usage", tags=["Pellucid"], responses={200: {"model": UserUsage}})
async def usage(request: Request) -> Response:
    """Report the caller's usage since the server's start, through the API and the server's page."""
    state, user = state_of(request), request.scope[OWNER]
    totals = state.users.totals(user)
    reply = UserUsage(
        user=user,
        since=state.started,
        requests=totals.requests,
        refused=totals.refused,
        prompt_tokens=totals.prompt,
        cached_tokens=totals.cached,
        generated_tokens=totals.generated,
    )
    return JSONResponse(reply.model_dump())
