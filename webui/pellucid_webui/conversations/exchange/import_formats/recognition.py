"""Recognition of other programs' exports by content."""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.exchange.import_formats import chatgpt, open_webui, openai_messages
from pellucid_webui.conversations.exchange.import_formats.foreign_conversation import ForeignConversation

MAX_CONVERSATIONS = 10_000

MAX_MESSAGES = 200_000

MAX_VALUES = 4_000_000
"""Small values need far more memory than text."""

MAX_ZIP_FILES = 50_000

ZIP = b"PK\x03\x04"

ZIP_ENTRY = b"PK\x01\x02"

CONVERSATIONS = re.compile(r"(?:.*/)?conversations(?:-\d+)?\.json")
"""Files with conversations in ChatGPT's export; long exports have several files."""

UNKNOWN = "It is no export that Pellucid can read: choose one of Pellucid, open-webui or ChatGPT, or OpenAI messages."

Reader = Callable[[Any], ForeignConversation]


def parsed(text: str) -> Any:
    """Parse a JSON text, or a text with a JSON value per line."""
    if text.count("{") + text.count("[") > MAX_VALUES:
        raise InvalidRequestError(f"It has more than {MAX_VALUES} objects and lists.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or isinstance(error, RecursionError) or not lines[0].rstrip().endswith(("}", "]")):
            raise InvalidRequestError(f"It is not valid JSON ({_reason(error)}).") from None
    return [_line(number, line) for number, line in enumerate(lines, 1)]


def read(data: object) -> list[ForeignConversation]:
    """Return the conversations of a parsed export."""
    items = data if isinstance(data, list) else [data]
    if items and all(map(openai_messages.is_message, items)):
        items = [items]
    if len(items) > MAX_CONVERSATIONS:
        raise InvalidRequestError(f"It has more than {MAX_CONVERSATIONS} conversations: divide it.")
    reader = next((reader for is_one, reader in READERS if items and is_one(items[0])), None)
    if reader is None:
        raise InvalidRequestError(UNKNOWN)
    found = (
        [reader(items[0])]
        if len(items) == 1
        else [_numbered(number, item, reader) for number, item in enumerate(items, 1)]
    )
    if sum(len(one.messages) for one in found) > MAX_MESSAGES:
        raise InvalidRequestError(f"It has more than {MAX_MESSAGES} messages: divide it.")
    return found


def unzipped(content: bytes, max_bytes: int) -> list[str]:
    """Return the texts of conversations in ChatGPT's export; reject hostile ZIP files."""
    if content.count(ZIP_ENTRY) > MAX_ZIP_FILES:
        raise InvalidRequestError(f"It has more than {MAX_ZIP_FILES} files: choose the conversations.json in it.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = sorted(entry.filename for entry in archive.infolist() if CONVERSATIONS.fullmatch(entry.filename))
            if not names:
                raise InvalidRequestError("It has no conversations.json, as ChatGPT's export has.")
            contents: list[bytes] = []
            for name in names:
                contents.append(_unzipped(archive, archive.getinfo(name), max_bytes - sum(map(len, contents))))
            return [content.decode() for content in contents]
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise InvalidRequestError(f"It is a damaged ZIP file ({_reason(error)}).") from None


def _unzipped(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, max_bytes: int) -> bytes:
    # Other methods unpack without a memory limit.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
        raise InvalidRequestError(
            f"{entry.filename} in it is encrypted or packed in an unusual way: unpack it, and choose that file."
        )
    with archive.open(entry) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise InvalidRequestError(
            f"The conversations in it are too large together: unpack it, and choose one {entry.filename} at a time."
        )
    return content


def _numbered(number: int, item: object, reader: Reader) -> ForeignConversation:
    try:
        if not any(is_one(item) for is_one, one in READERS if one is reader):
            raise InvalidRequestError("It is not in the format of the first one.")
        return reader(item)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"Conversation {number}: {error}") from error


def _line(number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"Line {number} is not valid JSON ({_reason(error)}).") from None


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]


READERS: Sequence[tuple[Callable[[object], bool], Reader]] = (
    (chatgpt.is_conversation, chatgpt.read_conversation),
    (open_webui.is_chat, open_webui.read_chat),
    (openai_messages.is_conversation, openai_messages.read_conversation),
)
