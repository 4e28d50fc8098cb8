"""Wire shape of /v1/usage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.api.schema.common import Reply


class UserUsage(Reply):
    """A user's usage since the server's start."""

    object: Literal["usage"] = "usage"
    user: str = Field(description="the owner of the key; local on a server without keys, or with one that all share")
    since: int = Field(description="the server's start, in seconds since 1970")
    requests: int = Field(description="requests that used a model")
    refused: int = Field(description="requests that a limit of the user refused")
    prompt_tokens: int = Field(description="tokens of prompts, those that the cache had included")
    cached_tokens: int = Field(description="tokens of prompts that the cache had")
    generated_tokens: int
