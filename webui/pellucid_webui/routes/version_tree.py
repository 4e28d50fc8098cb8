"""All versions of all messages, for a picture of the tree."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

from pellucid.system.common_prefix import common_prefix
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.compact_tokens import record_at
from pellucid_webui.conversations.conversation import ASSISTANT, Conversation, Node

MAX_CHARACTERS = 160

LEAST_SHARED = 40
"""Versions with an equal beginning of this length are shown from the difference on."""

LEAD_CHARACTERS = 24


async def versions_of(conversation: Conversation, actions: ChatActions) -> list[dict[str, Any]]:
    found = []
    for node in sorted(conversation.nodes.values(), key=lambda one: one.id):
        origin = None if node.origin is None else conversation.nodes.get(node.origin)
        older = conversation.versions(node)[0] if node.origin is None else origin
        text = node.text or ", ".join(picture.name for picture in node.pictures)
        one: dict[str, Any] = {
            "node": node.id,
            "parent": node.parent,
            "role": node.role,
            "words": words(text, None if older is None or older is node else older.text),
            "made": made(node),
            "about": _about(node),
            "chosen": node.chosen,
        }
        if actions.running(conversation, node.id) is not None:
            one["live"] = True
        if (at := node.branched) is not None:
            after = await actions.batches_in(conversation, node.id)
            before = [] if origin is None else await actions.batches_in(conversation, origin.id)
            token, replaced = _token(record_at(after, at)), _token(record_at(before, at))
            one["branch"] = {"at": at, "token": token, "replaced": replaced}
        found.append(one)
    return found


def made(node: Node) -> str:
    if node.role != ASSISTANT:
        return "written" if node.origin is None else "edited"
    if node.is_edited:
        return "edited"
    if node.branched is not None:
        return "branched"
    if node.continued is not None:
        return "continued"
    return "answered" if node.origin is None else "regenerated"


def words(text: str, older: str | None) -> str:
    """Return the first words of a version, or the words around the first difference."""
    shared = 0 if older is None else common_prefix(text, older)
    if shared < LEAST_SHARED or shared == len(text):
        return _line(text[: 2 * MAX_CHARACTERS])
    begin = text.find(" ", shared - LEAD_CHARACTERS, shared) + 1 or shared - LEAD_CHARACTERS
    return f"…{_line(text[begin : begin + 2 * MAX_CHARACTERS])}"


def _token(record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if record is None:
        return None
    found = {"t": record["t"], "p": None if record["l"] is None else exp(record["l"])}
    return found | ({"b": record["b"]} if "b" in record else {})


def _about(node: Node) -> str:
    if node.settings is None or node.role != ASSISTANT:
        return ""
    return f"{node.model}, {f'temperature {node.settings.temperature:g}' if node.settings.temperature else 'greedy'}"


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1].rstrip() + "…"
