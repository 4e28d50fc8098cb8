"""The state of a conversation for the browser."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import Any

from pellucid.text.structured.json_scanner import is_json
from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations import context_use
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES, MAX_MESSAGE_BYTES, MAX_PICTURES, MAX_PICTURES_BYTES
from pellucid_webui.conversations.conversation import ASSISTANT, Conversation, Node
from pellucid_webui.conversations.markdown.highlighting import highlighting_ends_after, is_over
from pellucid_webui.conversations.markdown.json_as_code import json_as_code
from pellucid_webui.conversations.markdown.markdown_to_html import blocks
from pellucid_webui.conversations.turn import Turn
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes.context_notice import ModelContext, context_payload
from pellucid_webui.routes.json_value_tree import trees

INCOMPLETE = "The JSON is incomplete."
"""Shown if an answer ended before the format was complete."""

CUT_OFF = "The JSON is incomplete: allow more tokens, or limit the length of its texts in the schema (maxLength)."

HIGHLIGHTING_SECONDS = 5.0
"""Time limit, so that a long conversation appears soon."""

LIVE_HIGHLIGHTING_SECONDS = 1.0

MAX_RENDERED_CHARACTERS = 64_000_000


class RenderedMessages:
    """JSON of finished messages, for all tabs. Rendering a long conversation takes seconds."""

    def __init__(self, most: int = MAX_RENDERED_CHARACTERS) -> None:
        self._most = most
        self._size = 0
        self._lock = threading.Lock()
        self._messages: OrderedDict[int, tuple[object, str]] = OrderedDict()

    def of(self, conversation: Conversation, node: Node) -> str:
        """Return a message as JSON, rendered again only after changes."""
        versions = [other.id for other in conversation.versions(node)]
        key = (node.text, node.end, versions)
        with self._lock:
            cached = self._messages.get(node.id)
            if cached is not None and cached[0] == key:
                self._messages.move_to_end(node.id)
                return cached[1]
        text = json.dumps(_about(conversation, node) | _content(node), ensure_ascii=False)
        if is_over():
            return text  # Perhaps not highlighted.
        with self._lock:
            _, before = self._messages.pop(node.id, (None, ""))
            self._messages[node.id] = (key, text)
            self._size += len(text) - len(before)
            while self._size > self._most and len(self._messages) > 1:
                self._size -= len(self._messages.popitem(last=False)[1][1])
        return text


@highlighting_ends_after(HIGHLIGHTING_SECONDS)
def state_of(
    rendered: RenderedMessages,
    conversation: Conversation | None,
    turn: Turn | None,
    context: ModelContext | None = None,
    last: Turn | None = None,
) -> dict[str, Any]:
    """Return what a tab shows of a conversation; ``last`` is an answer refused as too long.

    The first call for a long conversation takes seconds. Finished messages are JSON strings, so
    that a tab parses only new messages.
    """
    path = [] if conversation is None else conversation.path()
    finished = [node for node in path if turn is None or node.id != turn.node]
    undone = [] if conversation is None or turn is not None else conversation.children(conversation.leaf)
    return {
        "id": None if conversation is None else conversation.id,
        "title": "" if conversation is None else conversation.title,
        "messages": [rendered.of(conversation, node) for node in finished if conversation is not None],
        "live": None if turn is None or conversation is None else _about(conversation, conversation.nodes[turn.node]),
        "redo": max((node.id for node in undone), default=None),
        "context": None if conversation is None else context_payload(conversation, turn, context, last),
        "model": "" if context is None else context.model,
        "models": [] if context is None else list(context.models),
        "fileLimit": MAX_FILE_BYTES,
        "filesLimit": MAX_MESSAGE_BYTES,
        "picturesLimit": MAX_PICTURES_BYTES,
        "mostPictures": MAX_PICTURES,
        "use": None if conversation is None else context_use.of_path(finished, conversation.settings),
    }


@highlighting_ends_after(LIVE_HIGHLIGHTING_SECONDS)
def blocks_of(turn: Turn) -> list[str]:
    return turn.blocks


def turn_stats(turn: Turn) -> str:
    if turn.status:
        return turn.status
    parts = [_tokens(turn.generated)]
    if turn.rate is not None:
        parts.append(f"{turn.rate:.1f} tokens/s")
    if turn.first_token is not None:
        parts.append(f"first token after {turn.first_token - turn.started:.2f} s")
    return " · ".join([*parts, *_prompt(turn.usage)])


def node_stats(usage: Usage) -> str:
    """Return speed and cost; empty for a refused answer."""
    if not usage.prompt:
        return ""
    parts = [_tokens(usage.generated)]
    if usage.decode and usage.generated > 1:
        parts.append(f"{(usage.generated - 1) / usage.decode:.1f} tokens/s")
    if usage.prefill:
        parts.append(f"first token after {usage.queued + usage.prefill:.2f} s")
    return " · ".join([*parts, *_prompt(usage)])


def _content(node: Node) -> dict[str, Any]:
    has_format = node.settings is not None and node.settings.answer_format != "free"
    cut_words = CUT_OFF if node.end is FinishReason.LENGTH else INCOMPLETE
    return {
        "text": node.text,
        "pictures": [one.name for one in node.pictures],
        "blocks": blocks(json_as_code(node.text) if has_format and node.text else node.text),
        "reasoning": "" if node.details is None else node.details.reasoning,
        "stats": node_stats(node.usage) if node.usage is not None else "",
        "idle": node.origin is not None
        and node.end is FinishReason.STOP
        and node.usage is not None
        and not node.usage.generated,
        "end": node.end,
        "isFull": node.end is FinishReason.LENGTH and node.settings is not None and not node.settings.max_tokens,
        "canContinue": bool(node.text) and not has_format and not (node.details is not None and node.details.calls),
        "error": node.error,
        "incomplete": cut_words if has_format and node.text and not is_json(node.text) else "",
        "trees": [] if node.details is None else trees(node.text, node.details),
    }


def _about(conversation: Conversation, node: Node) -> dict[str, Any]:
    settings = node.settings
    fields: dict[str, Any] = {
        "node": node.id,
        "role": node.role,
        "versions": [other.id for other in conversation.versions(node)],
        "about": _description(conversation, node),
    }
    if settings is not None and node.role == ASSISTANT:
        sampling = {
            "temperature": settings.temperature,
            "top_k": settings.top_k,
            "top_p": settings.top_p,
            "min_p": settings.min_p,
        }
        fields |= {"sampling": sampling, "model": node.model}
    return fields


def _description(conversation: Conversation, node: Node) -> str:
    if node.is_edited:
        return "edited"
    if node.settings is None:
        return node.model
    chosen = f"temperature {node.settings.temperature:g}" if node.settings.temperature else "greedy"
    seed = "" if node.settings.seed is None else f", seed {node.settings.seed}"
    system = ", with a system prompt" if node.settings.system.strip() else ""
    branched = "" if node.branched is None else f", branched at token {node.branched + 1}"
    return (
        f"{node.model}, {chosen}{seed}{system}{_format_words(node.settings)}{branched}{_continued(conversation, node)}"
    )


def _continued(conversation: Conversation, node: Node) -> str:
    if node.continued is None:
        return ""
    origin = None if node.origin is None else conversation.nodes.get(node.origin)
    if origin is not None and origin.is_edited:
        return f", continued an edited answer after {node.continued:,} characters"
    return f", continued after {node.continued:,} characters"


def _format_words(settings: TurnSettings) -> str:
    form = {"free": "", "json_object": ", JSON", "json_schema": ", JSON schema"}[settings.answer_format]
    if not settings.tools.strip() or settings.tool_choice == "none":
        return form
    return f"{form}, {'tools required' if settings.tool_choice == 'required' else 'with tools'}"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def _prompt(usage: Usage) -> list[str]:
    return [f"prompt: {usage.cached} cached, {usage.computed} computed"] if usage.prompt else []
