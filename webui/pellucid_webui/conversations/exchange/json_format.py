"""Export of complete conversations as JSON, and import.

The JSON is an object with these keys. All keys are required except ``pinned``, ``folder`` and, in a
message, ``details``, ``begins``, ``summary``, ``continued`` and ``pictures``. Times are in seconds
since 1970.

- ``format``: "pellucid-conversation"
- ``version``: 1
- ``title``, ``created``, ``updated``
- ``pinned``: true for a conversation pinned to the top of the list
- ``folder``: the name of the folder, or null
- ``settings``: the settings of the next turn (``model``, ``system``, ``temperature``, ``top_p``,
  ``top_k``, ``min_p``, ``seed``, ``max_tokens``, ``answer_format``, ``schema``, ``tools``,
  ``tool_choice``, ``reasoning``)
- ``leaf``: the last message of the selected path, or null
- ``messages``: all versions of all messages, parents first

A message is an object with these keys:

- ``id``: 1, 2, 3, ...
- ``parent``: null for a first message; versions of a message have the same parent
- ``role`` (user or assistant), ``text``, ``created``
- ``settings`` and ``model``: used for generation; null and "" for a message written by a person
- ``end``: the reason for the end (stop, length, cancelled, deadline, superseded or error), or null
  after a crash of the server
- ``usage``: null, or an object: ``cached``, ``computed`` and ``generated`` tokens; ``queued``,
  ``prefill`` and ``decode`` seconds; and, if not 0, ``moves`` (losses of a remote engine),
  ``prediction`` (tokens of a prediction) and ``accepted`` (predicted tokens in the answer)
- ``error``: a sentence about the failure, or null
- ``origin``: the version from which this version was made, or null
- ``branched``: the first token at which this version differs from ``origin``, or null
- ``chosen``: the version of the next message that was selected last, or null
- ``tokens``: records as in ``compact_tokens``, for all text after a beginning by a person
- ``details``: as in ``answer_details``; missing without JSON values, tool calls and reasoning
- ``begins`` and ``summary``: the first message that the model reads from this answer on, and the
  summary of the messages before ``begins``; missing if unchanged
- ``continued``: the characters that a continued answer already had; otherwise missing
- ``pictures``: objects with a ``name`` and a data URL (``url``); missing for a message without
  pictures
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.answer_details import StoredDetails
from pellucid_webui.conversations.attachments import PICTURE_TYPES
from pellucid_webui.conversations.compact_tokens import pack, records_in, token_of
from pellucid_webui.conversations.conversation import USER, Archive, Conversation, Filing, Node, Picture
from pellucid_webui.conversations.storage.folders import checked_name
from pellucid_webui.conversations.turn_settings import TurnSettings

FORMAT = "pellucid-conversation"
VERSION = 1

YEAR_10000 = 253_402_300_800
"""In seconds since 1970: Python's datetime ends with the year 9999."""

Seconds = Annotated[float, Field(ge=0, lt=YEAR_10000)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Number = Annotated[int, Field(ge=1, lt=2**53)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Usage(_Strict):
    cached: Count
    computed: Count
    generated: Count
    queued: Seconds
    prefill: Seconds
    decode: Seconds
    moves: Count = 0
    accepted: Count = 0
    prediction: Count = 0


class PictureFields(_Strict):
    name: str
    url: Annotated[str, Field(pattern=rf"^data:image/({'|'.join(PICTURE_TYPES)});base64,[A-Za-z0-9+/]+={{0,2}}$")]


class _Message(_Strict):
    id: Number
    parent: Number | None
    role: Literal["user", "assistant"]
    text: str
    created: Seconds
    settings: dict[str, Any] | None
    model: str
    end: FinishReason | None
    usage: _Usage | None
    error: str | None
    origin: Number | None
    branched: Count | None
    chosen: Number | None
    tokens: list[Any]
    details: StoredDetails | None = None
    begins: Number | None = None
    summary: str = ""
    continued: Count | None = None
    pictures: tuple[PictureFields, ...] = ()


class _File(_Strict):
    format: Literal["pellucid-conversation"]
    version: Annotated[int, Field(ge=VERSION, le=VERSION)]
    title: str
    created: Seconds
    updated: Seconds
    pinned: bool = False
    folder: str | None = None
    settings: dict[str, Any]
    leaf: Number | None
    messages: list[_Message]


def to_json(archive: Archive) -> str:
    """Return a complete conversation as JSON, with a message per line."""
    conversation = archive.conversation
    numbers: dict[int | None, int | None] = {None: None} | {
        id: number for number, id in enumerate(conversation.nodes, 1)
    }
    head = {
        "format": FORMAT,
        "version": VERSION,
        "title": conversation.title,
        "created": conversation.created,
        "updated": conversation.updated,
        "pinned": archive.filing.pinned,
        "folder": archive.filing.folder,
        "settings": conversation.settings.record(),
        "leaf": numbers[conversation.leaf],
    }
    lines = [f"{_json(name)}: {_json(value)}" for name, value in head.items()]
    messages = [_json(_written(node, numbers, archive)) for node in conversation.nodes.values()]
    return (
        "{\n"
        + ",\n".join([*lines, '"messages": [' + ",".join("\n" + message for message in messages) + "\n]"])
        + "\n}\n"
    )


def from_json(text: str) -> Archive:
    """Return the conversation of an exported file, with an empty id."""
    try:
        file = _File.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRequestError(_sentence(error)) from error
    for number, message in enumerate(file.messages, 1):
        _check_place(number, message, file.messages)
    if file.leaf is not None and file.leaf > len(file.messages):
        raise InvalidRequestError(f"leaf: there is no message {file.leaf}.")
    conversation = Conversation(
        id="",
        title=file.title,
        settings=settings_of(file.settings),
        created=file.created,
        updated=file.updated,
        leaf=file.leaf,
        nodes={message.id: _node(message) for message in file.messages},
    )
    filing = Filing(file.pinned, None if file.folder is None else checked_name(file.folder))
    return Archive(conversation, {message.id: _batches(message) for message in file.messages}, filing)


def settings_of(record: Mapping[str, Any]) -> TurnSettings:
    unknown = next(iter(record.keys() - {one.name for one in fields(TurnSettings)}), None)
    if unknown is not None:
        raise InvalidRequestError(f"There is no setting {unknown!r}: remove it, or use a newer version of Pellucid.")
    settings = TurnSettings.read(record)
    settings.sampling()
    return settings


def _usage(usage: Usage) -> dict[str, Any]:
    found = asdict(usage)
    return {name: value for name, value in found.items() if value or name not in ("moves", "accepted", "prediction")}


def _written(node: Node, numbers: Mapping[int | None, int | None], archive: Archive) -> dict[str, Any]:
    written = {
        "id": numbers[node.id],
        "parent": numbers[node.parent],
        "role": node.role,
        "text": node.text,
        "created": node.created,
        "settings": None if node.settings is None else node.settings.record(),
        "model": node.model,
        "end": node.end,
        "usage": None if node.usage is None else _usage(node.usage),
        "error": node.error,
        "origin": numbers[node.origin],
        "branched": node.branched,
        "chosen": numbers[node.chosen],
        "tokens": [found for batch in archive.tokens.get(node.id, ()) for found in records_in(batch)],
    }
    if node.details is not None:
        written["details"] = node.details.model_dump(mode="json", exclude_defaults=True)
    later: dict[str, Any] = {"begins": numbers[node.begins], "summary": node.summary, "continued": node.continued}
    later["pictures"] = [asdict(one) for one in node.pictures]
    return written | {name: value for name, value in later.items() if value not in (None, "", [])}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _check_place(number: int, message: _Message, messages: list[_Message]) -> None:
    if message.id != number:
        raise InvalidRequestError(f"Message {number} has the id {message.id}: ids must be 1, 2, 3, ...")
    if message.parent is not None and message.parent >= number:
        raise InvalidRequestError(f"Message {number} comes before its parent, {message.parent}.")
    if message.pictures and message.role != USER:
        raise InvalidRequestError(f"Message {number} has pictures: only a user's message can have pictures.")
    if message.origin is not None and (
        message.origin >= number or messages[message.origin - 1].parent != message.parent
    ):
        raise InvalidRequestError(f"Message {number} is not a version of its origin, {message.origin}.")
    if message.begins is not None and message.begins not in _ancestors(message, messages):
        raise InvalidRequestError(
            f"Message {number} does not come after message {message.begins}, at which the model should begin to read."
        )
    if message.summary and message.begins is None:
        raise InvalidRequestError(f"Message {number} has a summary, but no message at which the model begins to read.")
    if message.chosen is not None and (message.chosen > len(messages) or messages[message.chosen - 1].parent != number):
        raise InvalidRequestError(f"Message {number} is not the parent of its chosen message, {message.chosen}.")


def _ancestors(message: _Message, messages: list[_Message]) -> Iterator[int]:
    at = message.parent
    while at is not None:
        yield at
        at = messages[at - 1].parent


def _node(message: _Message) -> Node:
    kept = {name: value for name, value in message if name not in ("settings", "usage", "tokens", "pictures")}
    return Node(
        **kept,
        settings=None if message.settings is None else settings_of(message.settings),
        usage=None if message.usage is None else Usage(**message.usage.model_dump()),
        pictures=pictures_of(message.pictures),
    )


def pictures_of(fields: Sequence[PictureFields]) -> tuple[Picture, ...]:
    return tuple(Picture(**one.model_dump()) for one in fields)


def _batches(message: _Message) -> list[str]:
    tokens: list[Token] = [token_of(found, position) for position, found in enumerate(message.tokens)]
    if not message.text.endswith("".join(token.text for token in tokens)):
        raise InvalidRequestError(f"The tokens of message {message.id} do not match the end of its text.")
    if message.branched is not None and message.branched >= len(tokens):
        raise InvalidRequestError(f"Message {message.id} has no token {message.branched}, at which it should branch.")
    return [pack(tokens)] if tokens else []


def _sentence(error: ValidationError) -> str:
    errors = {detail["loc"]: detail for detail in error.errors(include_url=False, include_context=False)}
    if ("format",) in errors or () in errors:
        detail = errors.get(("format",)) or errors[()]
        return (
            "It is not an exported conversation."
            if detail["type"] != "json_invalid"
            else f"It is not valid JSON ({detail['msg']})."
        )
    if ("version",) in errors:
        return f"Its format version is not {VERSION}: use a newer version of Pellucid."
    place, detail = next(iter(errors.items()))
    return f"{'.'.join(map(str, place))}: {detail['msg']}."
