"""Inspection of answers: token places, branches and tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, fsum, log
from typing import Any

from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.compact_tokens import record_at, records_in
from pellucid_webui.conversations.conversation import ASSISTANT, Conversation, Node
from pellucid_webui.conversations.markdown.json_as_code import json_as_code
from pellucid_webui.inspection.token_places import marks_of
from pellucid_webui.page_threads import in_page_thread

MAX_ANSWERS = 20


async def inspected(
    conversation: Conversation, asked: Mapping[str, Any], actions: ChatActions, cards: Sequence[ModelCard]
) -> dict[str, Any]:
    """Return the places of the tokens of the answers ``nodes``, and the tokens of ``open``."""
    nodes, marks = asked.get("nodes"), dict[int, Any]()
    with_experts = {card.name for card in cards if card.experts}
    for number in nodes[:MAX_ANSWERS] if isinstance(nodes, list) else []:
        node = finished_answer(conversation, number, actions)
        if node is not None:
            found = await in_page_thread(_marks, node, await actions.batches_in(conversation, node.id))
            count, branched = len(conversation.versions(node)), await _branched(conversation, node, actions)
            experts = conversation.settings_of(node).model in with_experts
            marks[node.id] = found | {"versions": count, "branched": branched, "experts": experts}
    node = finished_answer(conversation, asked.get("open"), actions)
    batches = [] if node is None else list(await actions.batches_in(conversation, node.id))
    return {"marks": marks, "opened": None if node is None else {"node": node.id, "batches": batches}}


def finished_answer(conversation: Conversation, number: object, actions: ChatActions) -> Node | None:
    node = conversation.nodes.get(number) if isinstance(number, int) else None
    is_found = node is not None and node.role == ASSISTANT and actions.running(conversation, node.id) is None
    return node if is_found else None


def _marks(node: Node, batches: Sequence[str]) -> dict[str, Any]:
    """Return the places of tokens; empty for a text without tokens."""
    has_format = node.settings is not None and node.settings.answer_format != "free"
    before = json_as_code("") if has_format and node.text else ""
    nothing: dict[str, Any] = {"lengths": [], "places": [], "unsure": [], "least": None, "count": 0}
    return (marks_of(node.text, batches, before) or nothing) | {"surprisal": _surprisal(batches)}


def _surprisal(batches: Sequence[str]) -> dict[str, Any]:
    """Return the mean surprisal in bits, and how many tokens have a probability or none."""
    logprobs = [record["l"] for batch in batches for record in records_in(batch)]
    known = [one for one in logprobs if one is not None]
    bits = -fsum(known) / len(known) / log(2) + 0.0 if known else None
    return {"bits": bits, "known": len(known), "unknown": len(logprobs) - len(known)}


async def _branched(conversation: Conversation, node: Node, actions: ChatActions) -> dict[str, Any] | None:
    """Return the token that was replaced by a branch."""
    if node.branched is None or node.origin is None or node.origin not in conversation.nodes:
        return None
    record = record_at(await actions.batches_in(conversation, node.origin), node.branched)
    if record is None:
        return {"at": node.branched}
    return {"at": node.branched, "text": record["t"], "p": None if record["l"] is None else exp(record["l"])}
