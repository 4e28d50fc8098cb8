"""A conversation as the chat's script draws it: finished messages as strings that stay the same, and the one on its way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pellucid.tokens import FinishReason, Usage
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES, MAX_MESSAGE_BYTES
from pellucid_webui.conversations.conversation import ASSISTANT, Conversation, Node
from pellucid_webui.conversations.markdown import blocks
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turn


def payload(session: TabState, conversation: Conversation | None, turn: Turn | None) -> dict[str, Any]:
    """What a tab shows. ``turn`` is the answer on its way, if there is one. Of a long conversation the first one takes seconds.

    Strings are what Gradio compares fastest, and what has not changed is not sent again.
    """
    path = [] if conversation is None else conversation.path()
    finished = [node for node in path if turn is None or node.id != turn.node]
    number, sentence = session.notice
    draft, text = session.draft
    return {
        "id": None if conversation is None else conversation.id,
        "title": "" if conversation is None else conversation.title,
        "messages": [_message(session, conversation, node) for node in finished if conversation is not None],
        "live": None if turn is None or conversation is None else live_payload(session, conversation, turn),
        "notice": {"n": number, "text": sentence},
        "draft": {"n": draft, "text": text} if draft else None,
        "redo": None if conversation is None or turn is not None else _next(conversation),
        "arrived": None if session.arrived is None else asdict(session.arrived),
        "stale": not session.owner,
        "fileLimit": MAX_FILE_BYTES,
        "filesLimit": MAX_MESSAGE_BYTES,
    }


def _next(conversation: Conversation) -> int | None:
    """What followed the end of the path the last time, if anything did."""
    return max((node.id for node in conversation.children(conversation.leaf)), default=None)


def live_part(turn: Turn, looked: bool, message: str) -> dict[str, Any]:
    """The answer on its way, as far as it has come."""
    tokens = list(turn.batches) if looked else []
    return {"message": message, "blocks": [] if looked else turn.blocks, "tokens": tokens, "stats": turn_stats(turn)}


def turn_stats(turn: Turn) -> str:
    """Speed and cost of an answer so far."""
    parts = [_tokens(turn.said)]
    if turn.rate is not None:
        parts.append(f"{turn.rate:.1f} tokens/s")
    if turn.first is not None:
        parts.append(f"first after {turn.first - turn.begun:.2f} s")
    return " · ".join([*parts, *_prompt(turn.usage)])


def node_stats(usage: Usage) -> str:
    """Speed and cost of an answer that has ended; nothing of one that was refused."""
    if not usage.prompt:
        return ""
    parts = [_tokens(usage.generated)]
    if usage.decode and usage.generated > 1:
        parts.append(f"{(usage.generated - 1) / usage.decode:.1f} tokens/s")
    if usage.prefill:
        parts.append(f"first after {usage.queued + usage.prefill:.2f} s")
    return " · ".join([*parts, *_prompt(usage)])


def live_payload(session: TabState, conversation: Conversation, turn: Turn) -> dict[str, Any]:
    """The part of a picture that grows."""
    node = conversation.nodes[turn.node]
    looked = turn.node in session.tokens
    return live_part(turn, looked, json.dumps(_about(conversation, node, looked) | {"text": ""}))


def _message(session: TabState, conversation: Conversation, node: Node) -> str:
    """The string of a message, made anew only where something has changed."""
    versions = tuple(other.id for other in conversation.versions(node))
    tokens = session.tokens.get(node.id)
    key = (node.text, node.end, versions, None if tokens is None else len(tokens))
    known = session.drawn.get(node.id)
    if known is not None and known[0] == key:
        return known[1]
    found = _about(conversation, node, tokens is not None) | _content(node, tokens)
    text = json.dumps(found, ensure_ascii=False)
    session.drawn[node.id] = (key, text)
    return text


def _content(node: Node, tokens: Sequence[str] | None) -> dict[str, Any]:
    return {
        "text": node.text,
        "blocks": blocks(node.text) if tokens is None else [],
        "tokens": list(tokens or ()),
        "stats": node_stats(node.usage) if node.usage is not None else "",
        "idle": node.origin is not None and node.end is FinishReason.STOP and node.usage is not None and not node.usage.generated,
        "end": node.end,
        "error": node.error,
    }


def _about(conversation: Conversation, node: Node, looked: bool) -> dict[str, Any]:
    settings = node.settings
    found: dict[str, Any] = {
        "node": node.id,
        "role": node.role,
        "versions": [other.id for other in conversation.versions(node)],
        "looked": looked,
        "about": _described(node),
    }
    if settings is not None and node.role == ASSISTANT:
        sampling = {"temperature": settings.temperature, "top_k": settings.top_k, "top_p": settings.top_p, "min_p": settings.min_p}
        found["sampling"] = sampling
    return found


def _described(node: Node) -> str:
    if node.settings is None:
        return node.model
    chosen = f"temperature {node.settings.temperature:g}" if node.settings.temperature else "greedy"
    seed = "" if node.settings.seed is None else f", seed {node.settings.seed}"
    system = ", with a system prompt" if node.settings.system.strip() else ""
    branched = "" if node.branched is None else f", branched at token {node.branched + 1}"
    return f"{node.model}, {chosen}{seed}{system}{branched}"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def _prompt(usage: Usage) -> list[str]:
    return [f"prompt: {usage.cached} cached, {usage.computed} computed"] if usage.prompt else []
