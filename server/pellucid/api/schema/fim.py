"""Wire shape of Mistral's infill requests. The replies have the shape of chats."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue

from pellucid.api.schema.common import MAX_TOKENS, Temperature, Unused
from pellucid.api.schema.openai import Admittance, Alternatives, StopTexts


class FimRequest(Admittance):
    """A gap to fill between ``prompt`` and ``suffix``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"prompt": "def add(a, b):\n    return ", "suffix": "\n", "max_tokens": 8, "stop": ["\n"]}]
        }
    )

    prompt: str
    suffix: str = Field("", description="the text after the gap")
    max_tokens: int | None = Field(
        None, ge=0, le=MAX_TOKENS, description="maximum tokens; by default until the model ends the answer"
    )
    min_tokens: Literal[0] = Field(0, description="always 0: the model ends the answer")
    temperature: Temperature = Field(0.0, description="0, the default, always picks the most probable token")
    top_p: float = Field(1.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    frequency_penalty: float = Field(0.0, ge=-2, le=2, description="penalizes tokens already in the answer")
    random_seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed gives the same answer")
    stop: StopTexts = Field([], description="the answer ends before the first of these texts")
    stream: bool = Field(False, description="send the tokens as server-sent events; the last event has the usage")
    logprobs: bool = Field(False, description="extension: return each token's logprob")
    top_logprobs: Alternatives | None = Field(
        None, description="extension, with logprobs: this many alternatives for each token"
    )
    metadata: Annotated[JsonValue, Unused()] = Field(None, description="ignored: nothing is stored")
