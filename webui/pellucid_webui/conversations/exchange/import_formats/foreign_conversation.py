"""Other programs' conversations: branches of the tree become versions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, Archive, Conversation, Node
from pellucid_webui.conversations.exchange.json_format import YEAR_10000
from pellucid_webui.conversations.turn_settings import TurnSettings

TITLE_CHARACTERS = 200

FIRST_LINE_CHARACTERS = 60

MAX_NAMED_ROLES = 5
"""Further unknown roles are counted together."""

MILLISECONDS_FROM = 1e11
"""Larger times are in milliseconds: as seconds, this is the year 5138."""

LARGEST = 1e18
"""Larger numbers, and NaN, are not times."""


class LeftOut(Counter[tuple[str, str]]):
    """Counts of parts that cannot be imported, by (singular, plural) name."""

    def tools(self) -> None:
        self[("message of tools", "messages of tools")] += 1

    def hidden(self) -> None:
        """Count a message that the exporting program does not show either."""
        self[("hidden message", "hidden messages")] += 1

    def thoughts(self) -> None:
        self[("message of reasoning", "messages of reasoning")] += 1

    def media(self, name: str) -> None:
        self[(name, f"{name}s")] += 1

    def role(self, role: object) -> None:
        known = sum(one.startswith("message of the role ") for one, _ in self)
        name = (
            f"of the role “{role[:20]}”"
            if isinstance(role, str) and role.isprintable() and known < MAX_NAMED_ROLES
            else "of other roles"
        )
        self[(f"message {name}", f"messages {name}")] += 1

    def sentence(self) -> str:
        parts = [f"{count} {one if count == 1 else many}" for (one, many), count in self.most_common()]
        if not parts:
            return ""
        listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"{listed} {'was' if self.total() == 1 else 'were'} left out."


@dataclass(slots=True)
class ForeignMessage:
    """A message of a tree.

    A message without ``role`` is left out; replies move up to the parent.
    """

    id: str
    parent: str | None
    role: str | None
    text: str = ""
    created: float | None = None
    model: str = ""
    error: str | None = None


@dataclass(slots=True)
class ForeignConversation:
    """Another program's conversation; ``leaf`` ends the path on display."""

    messages: Sequence[ForeignMessage]
    title: str = ""
    system: str = ""
    leaf: str | None = None
    created: float | None = None
    updated: float | None = None
    left_out: LeftOut = field(default_factory=LeftOut)

    def archive(self, settings: TurnSettings, now: float) -> Archive:
        """Return the conversation with an empty id; missing times become ``now``."""
        nodes, numbers = _tree(self.messages, self.created if self.created is not None else now)
        leaf = numbers.get(self.leaf) if self.leaf is not None else None
        created = (
            self.created if self.created is not None else min((node.created for node in nodes.values()), default=now)
        )
        conversation = Conversation(
            id="",
            title=self.title or _first_line(nodes),
            settings=settings,
            created=created,
            updated=self.updated
            if self.updated is not None
            else max([created, *(node.created for node in nodes.values())]),
            leaf=_choose(nodes, leaf),
            nodes=nodes,
        )
        return Archive(conversation, {})


def seconds(value: object) -> float | None:
    """Return a time in seconds since 1970 (milliseconds are converted), or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        return None
    time = value / 1000 if value >= MILLISECONDS_FROM else float(value)
    return time if 0 <= time < YEAR_10000 else None


def title(value: object) -> str:
    """Return a title in one line, or an empty text."""
    return " ".join(value.split())[:TITLE_CHARACTERS] if isinstance(value, str) else ""


def name(value: object) -> str:
    """Return a short text, or an empty text."""
    return value[:TITLE_CHARACTERS] if isinstance(value, str) else ""


def member(value: object, key: str) -> Any:
    """Return a member of an object, or None."""
    return value.get(key) if isinstance(value, Mapping) else None


def _tree(messages: Sequence[ForeignMessage], created: float) -> tuple[dict[int, Node], dict[str, int]]:
    """Return the nodes, parents first, and the node number of each message."""
    order, anchors = _anchored(messages)
    replies = Counter(anchors[message.id] for message in order if message.role is not None)
    nodes: dict[int, Node] = {}
    texts: dict[int, list[str]] = {}
    numbers: dict[str, int] = {}
    for message in order:
        above = anchors[message.id]
        number = None if above is None else numbers[above]
        if message.role is not None:
            interrupted = number is not None and message.role == nodes[number].role == ASSISTANT and replies[above] == 1
            if number is None or not interrupted:
                parent, number = number, len(nodes) + 1
                nodes[number] = _node(message, number, parent, created)
            texts.setdefault(number, []).append(message.text)  # Tool calls may have divided an answer.
        if number is not None:
            numbers[message.id] = number
    return {id: replace(node, text="\n\n".join(texts[id])) for id, node in nodes.items()}, numbers


def _anchored(messages: Sequence[ForeignMessage]) -> tuple[list[ForeignMessage], dict[str, str | None]]:
    """Return the messages, parents first, and the nearest visible ancestors."""
    by_id = {message.id: message for message in messages}
    below: dict[str | None, list[ForeignMessage]] = {}
    for message in by_id.values():
        below.setdefault(message.parent if message.parent in by_id else None, []).append(message)
    order: list[ForeignMessage] = []
    anchors: dict[str, str | None] = {}
    waiting: deque[tuple[ForeignMessage, str | None]] = deque((message, None) for message in below.get(None, ()))
    while waiting:
        message, anchor = waiting.popleft()
        order.append(message)
        anchors[message.id] = anchor
        waiting.extend((reply, anchor if message.role is None else message.id) for reply in below.get(message.id, ()))
    if len(order) < len(messages):
        raise InvalidRequestError("Two of its messages have the same id, or a message is its own parent.")
    return order, anchors


def _node(message: ForeignMessage, number: int, parent: int | None, created: float) -> Node:
    return Node(
        id=number,
        parent=parent,
        role=str(message.role),
        text="",
        created=message.created if message.created is not None else created,
        model=message.model,
        end=FinishReason.STOP if message.error is None else FinishReason.ERROR,
        error=message.error,
    )


def _choose(nodes: dict[int, Node], leaf: int | None) -> int | None:
    """Choose the path to ``leaf`` (default: the last path), and return the leaf."""
    chosen: dict[int | None, int | None] = {node.parent: id for id, node in nodes.items()}
    if leaf is None:
        at = chosen.get(None)
        while at is not None:
            leaf, at = at, chosen.get(at)
    else:
        chosen[leaf] = None
        at = leaf
        while at is not None:
            parent = nodes[at].parent
            chosen[parent] = at
            at = parent
    for id, node in nodes.items():
        nodes[id] = replace(node, chosen=chosen.get(id))
    return leaf


def _first_line(nodes: Mapping[int, Node]) -> str:
    text = next(
        (" ".join(node.text.strip().partition("\n")[0].split()) for node in nodes.values() if node.text.strip()),
        "Imported conversation",
    )
    return text if len(text) <= FIRST_LINE_CHARACTERS else text[: FIRST_LINE_CHARACTERS - 1].rstrip() + "…"
