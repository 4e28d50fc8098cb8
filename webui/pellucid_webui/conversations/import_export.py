"""Exports conversations from a store as files, and imports them again."""

from __future__ import annotations

import zlib
from pathlib import PurePath

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.json_format import from_json, to_json
from pellucid_webui.conversations.markdown_format import from_markdown, to_markdown
from pellucid_webui.conversations.store import ConversationStore

MAX_IMPORT_BYTES = 50_000_000
"""Largest size of an imported file, unpacked."""

GZIP = 31
"""The value of zlib's ``wbits`` for the gzip format."""


def as_json(store: ConversationStore, owner: str, id: str) -> str:
    """Return all of a conversation in the format that ``json_export`` describes."""
    return to_json(store.archive(owner, id))


def as_markdown(store: ConversationStore, owner: str, id: str) -> str:
    """Return the selected path of a conversation in the format that ``markdown_export`` describes."""
    return to_markdown(store.conversation(owner, id))


def unpacked(data: bytes, name: str) -> str:
    """Return the text of a gzipped file. Raises InvalidRequestError, which names the file, if it is too large or not text."""
    unpacking = zlib.decompressobj(wbits=GZIP)
    try:
        content = unpacking.decompress(data, MAX_IMPORT_BYTES + 1)
    except zlib.error:
        raise InvalidRequestError(f"{name} was damaged in transit: choose it again.") from None
    if len(content) > MAX_IMPORT_BYTES:
        raise InvalidRequestError(f"{name} is larger than {MAX_IMPORT_BYTES // 1_000_000} MB: it cannot be imported.")
    if not unpacking.eof:
        raise InvalidRequestError(f"{name} was damaged in transit: choose it again.")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name} is not UTF-8 text: choose a file that ends in .json or .md.") from None


def read(store: ConversationStore, owner: str, text: str, name: str) -> str:
    """Save the conversation in a file's text as a new one of this owner, and return its id.

    Raises InvalidRequestError, which names the file and what is wrong with it; nothing is saved then.
    """
    readers = {".json": from_json, ".md": from_markdown}
    reader = readers.get(PurePath(name).suffix.lower())
    if reader is None:
        raise InvalidRequestError(f"{name} is not an exported conversation: choose a file that ends in .json or .md.")
    try:
        archive = reader(text.removeprefix("\ufeff"))
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name} cannot be imported: {error}") from error
    return store.restore(owner, archive)
