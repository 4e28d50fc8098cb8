"""Export of a conversation's selected path as readable Markdown, and import.

The comment before each message contains a name that occurs in no message and is recorded in the
front matter, so every message is restored exactly. The front matter is YAML with JSON values.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, UNFILED, Archive, Conversation, Filing, Node
from pellucid_webui.conversations.exchange.json_format import PictureFields, pictures_of, settings_of
from pellucid_webui.conversations.markdown.markdown_to_html import open_fence
from pellucid_webui.conversations.storage.folders import checked_name

VERSION = 1

_FRONT = re.compile(r"---\n(.*?\n)---\n(.*)", re.DOTALL)
_MESSAGE = re.compile(r"(\{[^\n]*\}) -->\n\n## [^\n]*\n\n(.*)\n\n", re.DOTALL)
_END = "end -->"


class _Mark(BaseModel):
    """The fields of the comment before a message.

    ``closing`` was appended to close an open code block. ``begins`` counts the messages of the file
    from 1.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    role: Literal["user", "assistant"]
    model: str
    end: FinishReason | None
    created: str
    closing: str
    begins: int | None = None
    summary: str = ""
    pictures: tuple[PictureFields, ...] = ()


def to_markdown(conversation: Conversation, filing: Filing = UNFILED) -> str:
    """Return the selected path as Markdown with the settings of the last answer."""
    path = conversation.path()
    texts = [
        conversation.title,
        *(node.text for node in path),
        *(node.model for node in path),
        *(node.summary for node in path),
    ]
    marks = (f"pellucid-{number}" for number in count(1))
    mark = next(mark for mark in marks if not any(f"<!-- {mark} " in text for text in texts))
    front = {
        "pellucid": VERSION,
        "mark": mark,
        "title": conversation.title,
        "created": _written_time(conversation.created),
    }
    front |= {"pinned": True} if filing.pinned else {}
    front |= {} if filing.folder is None else {"folder": filing.folder}
    settings = next((node.settings for node in reversed(path) if node.settings is not None), conversation.settings)
    lines = [f"{name}: {_json(value)}" for name, value in (front | settings.record()).items()]
    title = " ".join(conversation.title.split())
    numbers: dict[int | None, int | None] = {None: None} | {node.id: number for number, node in enumerate(path, 1)}
    messages = [_written(mark, node, numbers[node.begins]) for node in path]
    return "\n".join(["---", *lines, "---", "", f"# {title}", "", *messages, f"<!-- {mark} {_END}", ""])


def from_markdown(text: str) -> Archive:
    """Return the conversation of an exported file, with an empty id."""
    if text.startswith("---\r\n"):  # An editor has converted all line ends for Windows.
        text = text.replace("\r\n", "\n")
    front, body = _read_front(text)
    mark, title, created = (front.pop(name, None) for name in ("mark", "title", "created"))
    if not (isinstance(mark, str) and isinstance(title, str) and isinstance(created, str)):
        raise InvalidRequestError("The front matter lacks one of the lines mark, title and created.")
    filing = _read_filing(front.pop("pinned", False), front.pop("folder", None))
    nodes = _read_messages(body, f"<!-- {mark} ")
    conversation = Conversation(
        id="",
        title=title,
        settings=settings_of(front),
        created=_read_time(created),
        updated=max([_read_time(created), *(node.created for node in nodes)]),
        leaf=len(nodes) or None,
        nodes={node.id: node for node in nodes},
    )
    return Archive(conversation, {}, filing)


def _read_filing(pinned: object, folder: object) -> Filing:
    if not isinstance(pinned, bool) or not (folder is None or isinstance(folder, str)):
        raise InvalidRequestError("The front matter's pinned is not true or false, or its folder is not a name.")
    return Filing(pinned, None if folder is None else checked_name(folder))


def _written(mark: str, node: Node, begins: int | None) -> str:
    fence = open_fence(node.text)
    closing = "" if fence is None else fence if node.text.endswith("\n") else f"\n{fence}"
    role: Literal["user", "assistant"] = "assistant" if node.role == ASSISTANT else "user"
    fields = _Mark(role=role, model=node.model, end=node.end, created=_written_time(node.created), closing=closing)
    view: dict[str, Any] = (
        {} if begins is None else {"begins": begins} | ({"summary": node.summary} if node.summary else {})
    )
    view |= {"pictures": [asdict(one) for one in node.pictures]} if node.pictures else {}
    written = fields.model_dump(exclude={"begins", "summary", "pictures"}) | view
    name = f"Assistant ({'edited' if node.is_edited else node.model})" if node.role == ASSISTANT else "User"
    return f"<!-- {mark} {_json(written)} -->\n\n## {' '.join(name.split())}\n\n{node.text}{closing}\n"


def _read_front(text: str) -> tuple[dict[str, Any], str]:
    found = _FRONT.match(text)
    if found is None:
        raise InvalidRequestError("It is not an exported conversation: those begin with --- and their settings.")
    front: dict[str, Any] = {}
    for line in found[1].split("\n")[:-1]:
        name, _, value = line.partition(": ")
        try:
            front[name] = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(
                f"The line {line[:80]!r} of the front matter is not a name, a colon and JSON."
            ) from error
    if front.pop("pellucid", None) != VERSION:
        raise InvalidRequestError(f"It is not an exported conversation in format version {VERSION}.")
    return front, found[2]


def _read_messages(body: str, mark: str) -> list[Node]:
    _, *parts = body.split(mark)
    if not parts or not parts[-1].startswith(_END):
        raise InvalidRequestError("It is incomplete: the last mark is missing.")
    nodes = [_read_message(number, part) for number, part in enumerate(parts[:-1], 1)]
    return [replace(node, chosen=node.id + 1 if node.id < len(nodes) else None) for node in nodes]


def _read_message(number: int, part: str) -> Node:
    found = _MESSAGE.fullmatch(part)
    if found is None:
        raise InvalidRequestError(
            f"Message {number} is not in the exported format: keep its comment, its heading and the empty lines."
        )
    try:
        mark = _Mark.model_validate_json(found[1])
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        raise InvalidRequestError(f"The comment of message {number} is wrong ({detail['msg']}).") from error
    if mark.begins is not None and not 0 < mark.begins < number:
        raise InvalidRequestError(
            f"The comment of message {number} is wrong (it does not come after message {mark.begins})."
        )
    return Node(
        id=number,
        parent=number - 1 or None,
        role=mark.role,
        text=found[2].removesuffix(mark.closing),
        created=_read_time(mark.created),
        model=mark.model,
        end=mark.end,
        begins=mark.begins,
        summary=mark.summary,
        pictures=pictures_of(mark.pictures),
    )


def _written_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _read_time(written: str) -> float:
    try:
        seconds = datetime.fromisoformat(written).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(f"{written[:80]!r} is not a time.") from error
    if seconds < 0:
        raise InvalidRequestError(f"{written[:80]!r} is before 1970.")
    return seconds


def _json(value: object) -> str:
    """Return JSON that cannot end a comment."""
    return json.dumps(value, ensure_ascii=False).replace(">", "\\u003e")
