"""Notice about the use of the context, with remedies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import ContextLengthError, InvalidRequestError, PellucidError
from pellucid_webui.conversations.conversation import USER, Conversation, Node
from pellucid_webui.conversations.model_view import Remedy, estimated_tokens, estimated_whole, nodes_in_view, view_of
from pellucid_webui.conversations.turn import Overflow, Turn

NEARLY_FULL = 0.85

SOON = {
    "ask": "soon the oldest messages will have to be left out.",
    "drop": "older messages will be left out soon.",
    "summarise": "older messages will be summarised soon.",
}
"""Upcoming change, by present remedy."""

REPEATED = {"retry": ("node",), "resume": ("node",), "branch": ("node", "index", "alternative", "text")}
"""Actions that can be repeated with a remedy, and the fields to keep."""


@dataclass(frozen=True, slots=True)
class ModelContext:
    model: str
    tokens: int
    models: tuple[str, ...] = ()


async def model_context(assistant: Assistant, conversation: Conversation | None) -> ModelContext | None:
    """Return the context of the conversation's model, if the server reports the context."""
    try:
        cards = await assistant.cards()
    except PellucidError:  # The next answer reports the error.
        return None
    model = "" if conversation is None else conversation.settings.model
    card = next((card for card in cards if card.name == model), None) if model else cards[0]
    return None if card is None else ModelContext(card.name, card.context, tuple(one.name for one in cards if one.chat))


def context_payload(
    conversation: Conversation, turn: Turn | None, context: ModelContext | None, last: Turn | None
) -> dict[str, Any]:
    """Return the first message read, the summary, and a notice if room is scarce."""
    path = conversation.path()
    view = view_of(path)
    return {
        "begins": view.begins,
        "summary": view.summary,
        "fits": context is not None and estimated_whole(path, conversation.settings) < context.tokens,
        "notice": None if context is None else _notice(conversation, path, turn, context, last),
    }


def repeatable_action(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the action to repeat with a remedy, if repeatable."""
    verb = str(event.get("verb"))
    return {"verb": verb} | {name: event[name] for name in REPEATED[verb] if name in event} if verb in REPEATED else {}


def remedy_of(event: Mapping[str, Any]) -> Remedy | None:
    match event.get("remedy"):
        case "drop":
            return "drop"
        case "summarise":
            return "summarise"
        case None | "all":
            return None
    raise InvalidRequestError("The page sent no valid remedy: reload it.")


def full_error(conversation: Conversation, context: ModelContext | None, last: Turn | None) -> ContextLengthError:
    """Return the conversation's overflow. Raises InvalidRequestError if there is room."""
    found = _overflow(conversation, last)
    if found is not None:
        return ContextLengthError(found.tokens, found.limit)
    used = estimated_tokens(conversation.path(), conversation.settings)
    if context is None or used < context.tokens:
        raise InvalidRequestError("This conversation still fits: send a message.")
    return ContextLengthError(used, context.tokens)


def _overflow(conversation: Conversation, last: Turn | None) -> Overflow | None:
    """Return the overflow of the last answer, if the path has the same end."""
    found = None if last is None else last.overflow
    return found if found is not None and found.leaf == conversation.leaf else None


def _notice(
    conversation: Conversation, path: Sequence[Node], turn: Turn | None, context: ModelContext, last: Turn | None
) -> dict[str, Any] | None:
    found = _overflow(conversation, last)
    if found is not None and turn is None and last is not None:
        action = last.action or {"verb": "retry", "node": found.leaf}
        return _full(f"{found.tokens:,}", f"{found.limit:,}", context.model, action, can_drop=not found.is_narrowest)
    before = path if turn is None else [node for node in path if node.id != turn.node]
    used, limit = estimated_tokens(before, conversation.settings), context.tokens
    if turn is None and path and used >= limit and path[-1].role == USER:
        can_drop = sum(node.role == USER for node in nodes_in_view(path, view_of(path))) > 1
        action = {"verb": "retry", "node": path[-1].id}
        return _full(f"about {used:,}", f"{limit:,}", context.model, action, can_drop=can_drop)
    if used < NEARLY_FULL * limit:
        return None
    soon = SOON[view_of(path).remedy]
    return {
        "text": f"About {min(used, limit):,} of {limit:,} tokens are used: {soon}",
        "action": None,
        "isFull": False,
        "canDrop": False,
    }


def _full(used: str, limit: str, model: str, action: Mapping[str, Any], *, can_drop: bool) -> dict[str, Any]:
    if can_drop:
        text = (
            f"This conversation is {used} tokens long, and {model} can read {limit}. "
            "Choose what the model reads from now on; no message is deleted."
        )
    elif action.get("verb") == "retry":
        long = f"Your message and the system prompt are {used} tokens long, and {model} can read {limit}"
        text = f"{long}: shorten them, or choose a model with a larger context."
    else:
        text = (
            f"This answer fills the context of {limit} tokens, so it cannot be continued: "
            "ask for the rest in a new message."
        )
    return {"text": text, "action": dict(action), "isFull": True, "canDrop": can_drop}
