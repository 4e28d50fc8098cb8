"""Messages of a conversation, and calls of tools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call; ``arguments`` is the text of a JSON object, possibly incomplete."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture before character ``at`` of a message's content; ``url`` is a data URL in base64."""

    at: int
    url: str


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
