"""The messages that the model reads, and how to make room in a full context.

A view is recorded with the first answer for which the view holds, so versions may differ.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import ContextLengthError, PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Image, Message, ToolCall
from pellucid.vocabulary.query import ChatQuery, SamplingParams
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER, Node
from pellucid_webui.conversations.turn_settings import TurnSettings

ROOM_SHARE = 0.25

CHARACTERS_PER_TOKEN = 3.5

SUMMARY_SHARE = 0.125

SUMMARY_PREFACE = "Summary of the earlier conversation, which is not shown any more:"

SUMMARY_PROMPT = (
    "Summarise the conversation below for a reader who continues it: its topics, facts, names, decisions, "
    "code that still matters, and what was asked for. Write only the summary, in the language of the conversation."
)

Remedy = Literal["ask", "drop", "summarise"]
"""How to make room for a conversation longer than the context."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """The messages read by the model: from ``begins`` on (None: all)."""

    begins: int | None = None
    summary: str = ""

    @property
    def remedy(self) -> Remedy:
        """The remedy that produced this view, used again when more room is needed."""
        return "ask" if self.begins is None else "summarise" if self.summary else "drop"


ALL_MESSAGES = ModelView()


def view_of(path: Sequence[Node]) -> ModelView:
    """Return the view that was recorded last on a path."""
    node = next((node for node in reversed(path) if node.begins is not None), None)
    return ALL_MESSAGES if node is None or node.begins == path[0].id else ModelView(node.begins, node.summary)


def nodes_in_view(path: Sequence[Node], view: ModelView) -> Sequence[Node]:
    return path[_start(path, view) :]


def messages_of(
    path: Sequence[Node], beginning: str, settings: TurnSettings, view: ModelView = ALL_MESSAGES
) -> list[Message]:
    """Return the system prompt with the summary, the path, and ``beginning``.

    Incomplete calls are left out: chat templates cannot show incomplete calls.
    """
    parts = [settings.system] if settings.system.strip() else []
    parts += [f"{SUMMARY_PREFACE}\n\n{view.summary}"] if view.summary else []
    system = [Message(SYSTEM, "\n\n".join(parts))] if parts else []
    written = [
        Message(node.role, node.text, _whole_calls(node), images=tuple(Image(0, one.url) for one in node.pictures))
        for node in nodes_in_view(path, view)
    ]
    return [*system, *written, *([Message(ASSISTANT, beginning)] if beginning else [])]


def estimated_tokens(path: Sequence[Node], settings: TurnSettings) -> int:
    """Return the estimated number of tokens that the model reads.

    The count up to the last answer of the view is exact; the rest is extrapolated.
    """
    view = view_of(path)
    nodes = nodes_in_view(path, view)
    recorded = next((node.id for node in reversed(path) if node.begins is not None), None)
    for place in range(len(nodes) - 1, -1, -1):
        usage = nodes[place].usage
        if usage is not None and usage.prompt and nodes[place].text:
            counted = usage.prompt + usage.generated
            rate = sum(_characters(node) for node in nodes[: place + 1]) / counted
            rest = sum(_characters(node) for node in nodes[place + 1 :])
            return counted + round(rest / min(max(rate, 1.0), 2 * CHARACTERS_PER_TOKEN))
        if nodes[place].id == recorded:
            break  # Earlier answers had a different view.
    return _by_characters(messages_of(path, "", settings, view))


def estimated_whole(path: Sequence[Node], settings: TurnSettings) -> int:
    """Return the estimated tokens of all messages, including dropped messages."""
    return _by_characters(messages_of(path, "", settings))


def _by_characters(messages: Sequence[Message]) -> int:
    return round(sum(message.characters for message in messages) / CHARACTERS_PER_TOKEN)


def narrower(
    path: Sequence[Node], view: ModelView, beginning: str, settings: TurnSettings, error: ContextLengthError
) -> ModelView | None:
    """Return a view from a later user message on, probably short enough, or None."""
    first = _start(path, view)
    starts = [place for place in range(first + 1, len(path)) if path[place].role == USER]
    if not starts:
        return None
    characters = sum(message.characters for message in messages_of(path, beginning, settings, view))
    target = error.context * (1 - ROOM_SHARE) * characters / max(error.prompt_tokens, 1)
    excess = characters - target
    for place in starts:
        if sum(_characters(node) for node in path[first:place]) >= excess:
            return ModelView(path[place].id, view.summary)
    return ModelView(path[starts[-1]].id, view.summary)


@dataclass(slots=True)
class ContextFitting:
    """Makes room by ``remedy`` when the context is full; ``save`` records the view."""

    path: Sequence[Node]
    beginning: str
    settings: TurnSettings
    view: ModelView
    remedy: Remedy
    save: Callable[[ModelView], Awaitable[None]]

    def messages(self) -> list[Message]:
        return messages_of(self.path, self.beginning, self.settings, self.view)

    def is_narrowest(self, error: ContextLengthError) -> bool:
        return narrower(self.path, self.view, self.beginning, self.settings, error) is None

    async def make_room(
        self, assistant: Assistant, error: ContextLengthError, report: Callable[[str], None]
    ) -> Sequence[Message]:
        """Narrow the view and return the messages.

        Raises the error if the user must choose a remedy, or if nothing can be left out.
        """
        view = None if self.remedy == "ask" else narrower(self.path, self.view, self.beginning, self.settings, error)
        if view is None:
            raise error
        if self.remedy == "summarise":
            report("Summarising the oldest messages…")
            dropped = self.path[_start(self.path, self.view) : _start(self.path, view)]
            view = replace(
                view, summary=await summarised(assistant, self.view.summary, dropped, self.settings, error.context)
            )
            report("")
        self.view = view
        await self.save(view)
        return self.messages()


async def summarised(
    assistant: Assistant, summary: str, nodes: Sequence[Node], settings: TurnSettings, context: int
) -> str:
    """Summarise an earlier summary and messages, in parts if necessary."""
    rest = [f"{node.role}: {node.text}" for node in nodes]
    share = max(len("\n\n".join(rest)), 1)
    while rest:
        part, share = _part(rest, share)
        try:
            summary = await _summary(assistant, "\n\n".join([*([summary] if summary else []), part]), settings, context)
        except ContextLengthError:
            if share <= 1:
                raise
            share = max(min(share, len(part)) // 2, 1)
            continue
        unread = "\n\n".join(rest)[len(part) :].removeprefix("\n\n")
        rest = [unread] if unread else []
    return summary


def _part(texts: Sequence[str], most: int) -> tuple[str, int]:
    part = ""
    for text in texts:
        longer = f"{part}\n\n{text}" if part else text
        if len(longer) > most:
            break
        part = longer
    return part or texts[0][:most], most


async def _summary(assistant: Assistant, text: str, settings: TurnSettings, context: int) -> str:
    params = SamplingParams(max_tokens=max(round(context * SUMMARY_SHARE), 1))
    query = ChatQuery([Message(USER, f"{SUMMARY_PROMPT}\n\n{text}")], params, model=settings.model or None)
    parts: list[str] = []
    async with aclosing(assistant.chat(query)) as items:
        async for item in items:
            if not isinstance(item, Finish):
                parts.append(item.text)
            elif item.reason not in (FinishReason.STOP, FinishReason.LENGTH):
                raise PellucidError(item.error or "The summary failed: drop the oldest messages instead.")
    if not "".join(parts).strip():
        raise PellucidError("The model wrote an empty summary: drop the oldest messages instead.")
    return "".join(parts).strip()


def _start(path: Sequence[Node], view: ModelView) -> int:
    return next((place for place, node in enumerate(path) if node.id == view.begins), 0)


def _characters(node: Node) -> int:
    return len(node.role) + len(node.text)


def _whole_calls(node: Node) -> tuple[ToolCall, ...]:
    calls = () if node.details is None else node.details.calls
    return tuple(ToolCall(call.id, call.name, call.arguments) for call in calls if call.complete)
