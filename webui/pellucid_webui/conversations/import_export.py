"""Conversations as files: out of a store, and into it again."""

from __future__ import annotations

import zlib
from pathlib import PurePath

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.json_export import from_json, to_json
from pellucid_webui.conversations.markdown_export import from_markdown, to_markdown
from pellucid_webui.conversations.store import ConversationStore

MAX_IMPORT_BYTES = 50_000_000
"""Bytes of a file that is read in."""

GZIP = 31
"""As zlib's ``wbits``."""


def as_json(store: ConversationStore, owner: str, id: str) -> str:
    """All of a conversation, in the shape that ``exchange_json.py`` describes."""
    return to_json(store.archive(owner, id))


def as_markdown(store: ConversationStore, owner: str, id: str) -> str:
    """The path of a conversation that is looked at, to be read."""
    return to_markdown(store.conversation(owner, id))


def unpacked(data: bytes, name: str) -> str:
    """The text of a file that comes as gzip. Raises InvalidRequestError, which names the file, for what is too large or no text."""
    unpacking = zlib.decompressobj(wbits=GZIP)
    try:
        content = unpacking.decompress(data, MAX_IMPORT_BYTES + 1)
    except zlib.error:
        raise InvalidRequestError(f"{name} was damaged on its way: choose it again.") from None
    if len(content) > MAX_IMPORT_BYTES:
        raise InvalidRequestError(
            f"{name} has more than {MAX_IMPORT_BYTES // 1_000_000} MB: conversations of that size cannot be imported."
        )
    if not unpacking.eof:
        raise InvalidRequestError(f"{name} was damaged on its way: choose it again.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name} is no text in UTF-8: choose a file that ends in .json or .md.") from None


def read(store: ConversationStore, owner: str, text: str, name: str) -> str:
    """Keep the conversation in a file's text as a new one of this owner, all of it or nothing; its id.

    Raises InvalidRequestError, which names the file and says what is wrong with it.
    """
    readers = {".json": from_json, ".md": from_markdown}
    reader = readers.get(PurePath(name).suffix.lower())
    if reader is None:
        raise InvalidRequestError(f"{name} is no exported conversation: choose a file that ends in .json or .md.")
    try:
        archive = reader(text.removeprefix("\ufeff"))
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name} cannot be imported: {error}") from error
    return store.restore(owner, archive)
