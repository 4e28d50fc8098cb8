"""Wire shapes of a conversation's messages in OpenAI's form, for several dialects and /v1/score."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from pellucid.api.schema.answer_fields import tag_by_type
from pellucid.api.schema.common import Body, Unused
from pellucid.api.schema.tool_calls import MAX_TOOLS, Name
from pellucid.vocabulary.message import DATA_URL, Image

MAX_MESSAGES = 1 << 14


class TextPart(Body):
    """A text part of a message."""

    type: Literal["text"]
    text: str


def _picture(url: str) -> str:
    return Image(0, url).url


PictureUrl = Annotated[
    str,
    AfterValidator(_picture),
    WithJsonSchema(
        {"type": "string", "pattern": DATA_URL, "description": "a data URL: no picture is fetched from the network"}
    ),
]

Detail = Annotated[str | None, Unused(), Field(description="ignored: the model decides how to read a picture")]


class ImageUrl(Body):
    """A picture as a data URL."""

    url: PictureUrl
    detail: Detail = None


def _url_tag(value: object) -> str:
    return "url text" if isinstance(value, str) else "url object"


class ImagePart(Body):
    """A picture of a message, for a model with images in its meta."""

    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[ImageUrl, Tag("url object")] | Annotated[PictureUrl, Tag("url text")], Discriminator(_url_tag)
    ]

    def image(self) -> Image:
        return Image(0, self.image_url if isinstance(self.image_url, str) else self.image_url.url)


MessagePart = Annotated[
    Annotated[TextPart, Tag("text part")] | Annotated[ImagePart, Tag("image_url")],
    Discriminator(tag_by_type(("image_url",), "text part")),
]


class CalledFunction(Body):
    """The function of a call in a message; arguments are the text of a JSON object."""

    name: Name
    arguments: str


class MessageToolCall(Body):
    """A call by the assistant."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction
    index: int | None = Field(
        None, description="allowed, so that a streamed call can be sent back; the order of the calls counts"
    )


class ChatMessage(Body):
    """A message of a conversation.

    Only an assistant's message with tool calls may have no content.
    """

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[MessagePart], Field(fail_fast=True)] | None = None
    name: str | None = Field(None, description="the name of the speaker or the tool, for templates that show the name")
    tool_calls: Annotated[list[MessageToolCall], Field(fail_fast=True, max_length=MAX_TOOLS)] = Field(
        [], description="the assistant's calls"
    )
    tool_call_id: str | None = Field(None, description="with the role tool: the call that returned this result")
    refusal: None = Field(None, description="allowed, so that an answer can be sent back as a message")
    reasoning_content: str | None = Field(
        None,
        description="the assistant's reasoning, for templates that show it, as a rule between calls",
    )

    @model_validator(mode="after")
    def _fits_role(self) -> Self:
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"a message of the role {self.role} cannot have tool_calls")
        if self.tool_call_id is not None and self.role != "tool":
            raise ValueError(f"a message of the role {self.role} cannot have a tool_call_id")
        if self.content is None and not self.tool_calls:
            raise ValueError("content is required, except of an assistant with tool_calls")
        return self


Messages = Annotated[list[ChatMessage], Field(fail_fast=True, min_length=1, max_length=MAX_MESSAGES)]
"""A conversation. Only the first wrong item is reported, as reports take memory and time."""
