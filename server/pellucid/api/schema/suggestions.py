"""Wire shape of /v1/suggestions/outcomes."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pellucid.api.schema.common import Body, Reply
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
