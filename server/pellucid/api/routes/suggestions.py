"""/v1/suggestions/outcomes, for language servers' reports of shown and accepted suggestions."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import JSONResponse, Response

from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.schema.common import Body, Reply
from pellucid.api.server_state import state_of
from pellucid.door.json_body import JsonRoute
from pellucid.vocabulary.query import MAX_OUTCOMES


class OutcomesRequest(Body):
    """The numbers of shown and accepted suggestions since the last report."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "qwen2.5-coder-0.5b", "shown": 12, "accepted": 3}]}
    )

    model: str | None = Field(
        None,
        description="the model that made the suggestions; the suggestions of a model that is not served count for "
        "`unknown`",
    )
    shown: int = Field(0, ge=0, le=MAX_OUTCOMES)
    accepted: int = Field(0, ge=0, le=MAX_OUTCOMES, description="accepted in whole or in part")
    id: str | None = Field(
        None,
        max_length=64,
        description="a random id of the report: a report sent again with the same id, because no reply came, counts "
        "once",
    )


class OutcomesReply(Reply):
    """The effect of a report."""

    object: Literal["suggestion.outcomes"] = "suggestion.outcomes"
    model: str = Field(
        description="the model for which the suggestions count; `unknown` for a model that is not served"
    )
    counted: bool = Field(description="false if a report with this id was counted before")


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
