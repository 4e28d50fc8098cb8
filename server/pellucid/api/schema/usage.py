"""Wire shape of /v1/usage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pellucid.api.schema.common import Reply


class UserUsage(Reply):
    """A user's usage since the server's start."""

    object: Literal["usage"] = "usage"
    user: str = Field(description="the owner of the key; local on a server without keys, or with a shared key")
    since: int = Field(description="the server's start, in seconds since 1970")
    requests: int = Field(description="requests to a model")
    refused: int = Field(description="requests refused because of a limit of the user")
    prompt_tokens: int = Field(description="prompt tokens, including tokens from the cache")
    cached_tokens: int = Field(description="prompt tokens from the cache")
    generated_tokens: int
