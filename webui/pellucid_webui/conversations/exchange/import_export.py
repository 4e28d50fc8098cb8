"""Export and import of conversations in a store."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.conversation import Archive
from pellucid_webui.conversations.encodable_text import encodable
from pellucid_webui.conversations.exchange.import_formats.foreign_conversation import ForeignConversation, LeftOut
from pellucid_webui.conversations.exchange.import_formats.recognition import ZIP, parsed, unzipped
from pellucid_webui.conversations.exchange.import_formats.recognition import read as read_foreign
from pellucid_webui.conversations.exchange.json_format import from_json, to_json
from pellucid_webui.conversations.exchange.markdown_format import from_markdown, to_markdown
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings

MAX_IMPORT_BYTES = 50_000_000
"""Maximum size of an imported file after unpacking."""


OWN = re.compile(r'"format"\s*:\s*"pellucid-conversation"')
"""Pattern of Pellucid's own files, searched in the first OWN_WITHIN characters."""

OWN_WITHIN = 1000

Archives = tuple[Sequence[Archive], LeftOut]


def as_json(store: ConversationStore, owner: str, id: str) -> str:
    """Return a complete conversation in the format of ``json_format``."""
    return to_json(store.archive(owner, id))


def as_markdown(store: ConversationStore, owner: str, id: str) -> str:
    """Return the selected path of a conversation in the format of ``markdown_format``."""
    return to_markdown(store.conversation(owner, id), store.filing(owner, id))


@dataclass(frozen=True, slots=True)
class Imported:
    ids: Sequence[str]
    left_out: LeftOut


def read_file(store: ConversationStore, owner: str, data: bytes, name: str, settings: TurnSettings) -> Imported:
    """Save the conversations of a gzipped file, all or none.

    Conversations of other programs receive the model and the sampling of ``settings``.
    """
    content = unpacked(data, name)
    if content.startswith(ZIP):
        archives, left_out = _named(
            name,
            lambda: _foreign([one for text in unzipped(content, MAX_IMPORT_BYTES) for one in _listed(text)], settings),
        )
    else:
        text = _decoded(content, name)
        archives, left_out = _named(name, lambda: _archives(text, name, settings))
    return Imported(store.restore(owner, archives), left_out)


def unpacked(data: bytes, name: str) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)  # 15 for the largest window, and 16 for a gzip header
    try:
        content = unpacking.decompress(data, MAX_IMPORT_BYTES + 1)
    except zlib.error:
        raise InvalidRequestError(f"{name} was damaged in transit: choose it again.") from None
    if len(content) > MAX_IMPORT_BYTES:
        raise InvalidRequestError(f"{name} is larger than {MAX_IMPORT_BYTES // 1_000_000} MB: it cannot be imported.")
    if not unpacking.eof:
        raise InvalidRequestError(f"{name} was damaged in transit: choose it again.")
    return content


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(
            f"{name} is not UTF-8 text: choose a file that ends in .json, .jsonl, .md or .zip."
        ) from None


def _named(name: str, read: Callable[[], Archives]) -> Archives:
    try:
        return read()
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name} cannot be imported: {error}") from error


def _archives(text: str, name: str, settings: TurnSettings) -> Archives:
    text = text.removeprefix("\ufeff")
    if PurePath(name).suffix.lower() == ".md" or text.startswith("---"):
        return [from_markdown(text)], LeftOut()
    if OWN.search(text, 0, OWN_WITHIN) or not text.strip():
        return [from_json(text)], LeftOut()
    data = parsed(text)
    if isinstance(data, dict) and "format" in data:
        return [from_json(text)], LeftOut()
    return _foreign(read_foreign(data), settings)


def _listed(text: str) -> Sequence[ForeignConversation]:
    return read_foreign(parsed(text.removeprefix("\ufeff")))


def _foreign(found: Sequence[ForeignConversation], settings: TurnSettings) -> Archives:
    """Return the conversations that have messages, and everything left out."""
    own = TurnSettings()
    plain = replace(
        settings, answer_format=own.answer_format, schema=own.schema, tools=own.tools, tool_choice=own.tool_choice
    )
    left_out = LeftOut()
    archives: list[Archive] = []
    now = time.time()
    for one in found:
        left_out.update(one.left_out)
        archive = one.archive(replace(plain, system=encodable(one.system)), now)
        if archive.conversation.nodes:
            archives.append(archive)
        else:
            left_out[("empty conversation", "empty conversations")] += 1
    if not archives:
        raise InvalidRequestError("It has no messages of a person or a model.")
    return archives, left_out
