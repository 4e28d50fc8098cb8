"""Messages of a conversation, and calls of tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

DATA_URL = r"^data:image/[^,]{1,100};base64,"
"""The beginning of a picture's data URL."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call; ``arguments`` is the text of a JSON object, possibly incomplete."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture before character ``at`` of a message's content; ``url`` is a data URL in base64.

    Raises ValueError for a different URL. The picture itself is not decoded here.
    """

    at: int
    url: str

    def __post_init__(self) -> None:
        if re.match(DATA_URL, self.url) is None:
            reason = "Pellucid fetches no files" if "://" in self.url[:100] else "this is not a picture in base64"
            raise ValueError(f"{reason}: send the picture as a data URL (data:image/png;base64,...)")

    @classmethod
    def of_base64(cls, picture: str) -> Image:
        """Return a picture of unknown format, in front of the content."""
        return cls(0, f"data:image/unknown;base64,{picture}")


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a chat. Roles are defined by the model's template.

    The assistant's messages may have tool calls. A message with the role tool has the result of the
    call ``tool_call_id``. ``name`` is the name of the speaker or tool. ``reasoning`` preceded the
    assistant's content; a template shows the reasoning of few messages.
    """

    role: str
    content: str = ""
    tool_calls: Sequence[ToolCall] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: str = ""
    images: Sequence[Image] = ()

    def __post_init__(self) -> None:
        places = [image.at for image in self.images]
        if places and not 0 <= places[0] <= places[-1] <= len(self.content):
            raise ValueError(
                f"images are at {places} in {len(self.content)} characters: place images at these characters"
            )
        if places != sorted(places):
            raise ValueError("images are out of order: order the images by their places")

    @property
    def characters(self) -> int:
        calls = sum(len(call.name) + len(call.arguments) for call in self.tool_calls)
        names = len(self.tool_call_id or "") + len(self.name or "")
        return len(self.role) + len(self.content) + len(self.reasoning) + calls + names


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool choice that demands a call of this function."""

    name: str


ToolChoice = Literal["auto", "none", "required"] | NamedTool
