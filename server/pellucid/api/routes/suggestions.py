"""/v1/suggestions/outcomes, for language servers' reports of shown and accepted suggestions."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.schema.suggestions import OutcomesReply, OutcomesRequest
from pellucid.api.server_state import state_of

router = APIRouter(route_class=JsonRoute)


@router.post(
    "/v1/suggestions/outcomes", tags=["Pellucid"], responses={200: {"model": OutcomesReply}, 400: MODEL_ERRORS[400]}
)
async def outcomes(body: OutcomesRequest, request: Request) -> Response:
    """Count shown and accepted suggestions, for /metrics.

    Only the totals are kept, not the senders.
    """
    state = state_of(request)
    model = state.metrics_label(body.model)
    counted = state.metrics.count_suggestions(model, shown=body.shown, accepted=body.accepted, report=body.id)
    return JSONResponse(OutcomesReply(model=model, counted=counted).model_dump())
