"""Text files as part of a message: fenced blocks of Markdown, which people and models read alike."""

from __future__ import annotations

import codecs
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath

from pygments.lexers import find_lexer_class_for_filename

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.markdown import open_fence

MAX_FILE_BYTES = 200_000
"""Bytes of one file."""

MAX_MESSAGE_BYTES = 500_000
"""Bytes of all files of a message."""

_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_UNFIT = re.compile(r"[`\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
"""Characters that the first line of a fence cannot hold, and surrogates, which no file can."""


def content_of(file: object) -> tuple[str, bytes]:
    """Return the name and the bytes of a file that a script of the page has read. Raises InvalidRequestError for anything else."""
    name, data = (file.get("name"), file.get("data")) if isinstance(file, Mapping) else (None, None)
    try:
        if isinstance(name, str) and isinstance(data, str):
            return _base(name), b64decode(data, validate=True)
    except ValueError:
        pass
    raise InvalidRequestError("A file arrives as its name and its bytes in base64: load the page again and choose the file there.")


def attach(message: str, files: Sequence[tuple[str, bytes]]) -> str:
    """A message with files behind it, each given by its name and its content.

    Raises InvalidRequestError, which names the file, for what is no text or too large.
    """
    parts = [_closed(message.rstrip())] if message.strip() else []
    total = 0
    for name, content in files:
        parts.append(block(name, content))
        total += len(content)
        if total > MAX_MESSAGE_BYTES:
            raise InvalidRequestError(
                f"With {_base(name)} the files have more than {MAX_MESSAGE_BYTES // 1000} kB together: leave some out."
            )
    return "\n\n".join(parts)


def block(name: str, content: bytes) -> str:
    """A file as a fenced block with its language and its name. Raises InvalidRequestError as ``attach`` does."""
    name, text = _base(name), text_of(name, content)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    end = "" if not text or text.endswith("\n") else "\n"
    return f"{fence}{_language(name)} {name}\n{text}{end}{fence}"


def text_of(name: str, content: bytes) -> str:
    """A file's text, with ends of lines as they are everywhere but on Windows. Raises InvalidRequestError as ``attach`` does."""
    name = _base(name)
    if len(content) > MAX_FILE_BYTES:
        raise InvalidRequestError(f"{name} has more than {MAX_FILE_BYTES // 1000} kB: take the part of it that matters.")
    encoding = next((encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise _no_text(name) from None
    if "\0" in text:
        raise _no_text(name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _closed(message: str) -> str:
    """A message behind which something can be written that is not part of its code."""
    fence = open_fence(message)
    return message if fence is None else f"{message}\n{fence}"


def _no_text(name: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} is no text in UTF-8: only text files can be read here.")


def _base(name: str) -> str:
    """The name without its folders, as it can stand in the first line of a fence."""
    return _UNFIT.sub("_", PureWindowsPath(PurePosixPath(name).name).name) or "file"


def _language(name: str) -> str:
    lexer = find_lexer_class_for_filename(name) or find_lexer_class_for_filename(name.lower())
    return str(lexer.aliases[0]) if lexer is not None and lexer.aliases else "text"
