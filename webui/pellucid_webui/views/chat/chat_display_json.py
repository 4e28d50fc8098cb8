"""Data of a conversation for the chat's script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations import context_use
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES, MAX_MESSAGE_BYTES
from pellucid_webui.conversations.conversation import ASSISTANT, Conversation, Node
from pellucid_webui.conversations.markdown.highlighting import highlighting_ends_after
from pellucid_webui.conversations.markdown.json_as_code import is_json, json_as_code
from pellucid_webui.conversations.markdown.markdown_to_html import blocks
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turn
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.context_notice import ModelContext, context_payload
from pellucid_webui.views.chat.json_value_tree import trees

INCOMPLETE = "The JSON is incomplete."
"""Shown if an answer ended before the format was complete."""

CUT_OFF = "The JSON is incomplete: allow more tokens, or limit the length of its texts in the schema (maxLength)."

HIGHLIGHTING_SECONDS = 5.0
"""Time limit, so that a long conversation appears soon."""

LIVE_HIGHLIGHTING_SECONDS = 1.0


@highlighting_ends_after(HIGHLIGHTING_SECONDS)
def payload(
    tab: TabState,
    conversation: Conversation | None,
    turn: Turn | None,
    context: ModelContext | None = None,
    order: int = 0,
) -> dict[str, Any]:
    """Return the content of a tab.

    The first call for a long conversation takes seconds. A later state has a higher ``order``.
    Finished messages are JSON strings: Gradio compares updates and sends only differences, and
    strings compare the fastest.
    """
    path = [] if conversation is None else conversation.path()
    finished = [node for node in path if turn is None or node.id != turn.node]
    number, sentence = tab.notice
    draft, text = tab.draft
    return {
        "id": None if conversation is None else conversation.id,
        "title": "" if conversation is None else conversation.title,
        "messages": [_message(tab, conversation, node) for node in finished if conversation is not None],
        "live": None if turn is None or conversation is None else live_payload(tab, conversation, turn),
        "notice": {"n": number, "text": sentence},
        "draft": {"n": draft, "text": text} if draft else None,
        "redo": None if conversation is None or turn is not None else _redo_node(conversation),
        "context": None if conversation is None else context_payload(tab, conversation, turn, context),
        "model": "" if context is None else context.model,
        "models": [] if context is None else list(context.models),
        "delivered": None if tab.delivered is None else asdict(tab.delivered),
        "opened": None if tab.opened is None else {"node": tab.opened[0], "batches": list(tab.opened[1])},
        "versions": tab.versions,
        "stale": not tab.owner,
        "order": order,
        "fileLimit": MAX_FILE_BYTES,
        "filesLimit": MAX_MESSAGE_BYTES,
        "use": None if conversation is None else context_use.of_path(finished, conversation.settings),
    }


@highlighting_ends_after(LIVE_HIGHLIGHTING_SECONDS)
def live_payload(tab: TabState, conversation: Conversation, turn: Turn) -> dict[str, Any]:
    node = conversation.nodes[turn.node]
    as_tokens = turn.node in tab.tokens
    return {
        "message": json.dumps(_about(conversation, node, as_tokens) | {"text": ""}),
        "blocks": [] if as_tokens else turn.blocks,
        "tokens": list(turn.batches) if as_tokens else [],
        "stats": turn_stats(turn),
        "use": context_use.of_turn(node.model, turn),
    }


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


def _redo_node(conversation: Conversation) -> int | None:
    return max((node.id for node in conversation.children(conversation.leaf)), default=None)


def _message(tab: TabState, conversation: Conversation, node: Node) -> str:
    """Return a message as a JSON string, rebuilt only after changes."""
    versions = tuple(other.id for other in conversation.versions(node))
    tokens = tab.tokens.get(node.id)
    marks = tab.marks.get(node.id)
    key = (node.text, node.end, versions, None if tokens is None else len(tokens), marks and marks["versions"])
    cached = tab.rendered.get(node.id)
    if cached is not None and cached[0] == key:
        return cached[1]
    fields = (
        _about(conversation, node, tokens is not None)
        | _content(node, tokens)
        | ({} if marks is None else {"marks": marks})
    )
    text = json.dumps(fields, ensure_ascii=False)
    tab.rendered[node.id] = (key, text)
    return text


def _content(node: Node, tokens: Sequence[str] | None) -> dict[str, Any]:
    has_format = node.settings is not None and node.settings.answer_format != "free"
    return {
        "text": node.text,
        "blocks": blocks(json_as_code(node.text) if has_format and node.text else node.text) if tokens is None else [],
        "tokens": list(tokens or ()),
        "stats": node_stats(node.usage) if node.usage is not None else "",
        "idle": node.origin is not None
        and node.end is FinishReason.STOP
        and node.usage is not None
        and not node.usage.generated,
        "end": node.end,
        "isFull": node.end is FinishReason.LENGTH and node.settings is not None and not node.settings.max_tokens,
        "canContinue": bool(node.text) and not has_format and not (node.details is not None and node.details.calls),
        "error": node.error,
        "incomplete": _incomplete(node) if has_format and node.text and not is_json(node.text) else "",
        "trees": [] if node.details is None else trees(node.text, node.details),
    }


def _incomplete(node: Node) -> str:
    return CUT_OFF if node.end is FinishReason.LENGTH else INCOMPLETE


def _about(conversation: Conversation, node: Node, as_tokens: bool) -> dict[str, Any]:
    settings = node.settings
    fields: dict[str, Any] = {
        "node": node.id,
        "role": node.role,
        "versions": [other.id for other in conversation.versions(node)],
        "asTokens": as_tokens,
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
