"""Files in a message: texts as fenced code blocks, and pictures."""

from __future__ import annotations

import codecs
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath

from pygments.lexers import find_lexer_class_for_filename

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.conversation import Picture
from pellucid_webui.conversations.markdown.markdown_to_html import open_fence

MAX_FILE_BYTES = 200_000

MAX_MESSAGE_BYTES = 500_000

MAX_PICTURES = 8

MAX_PICTURES_BYTES = 6_000_000
"""Of a message; in base64, the pictures must fit into the body of a request."""

PICTURE_TYPES = {
    "png": rb"\x89PNG\r\n\x1a\n",
    "jpeg": rb"\xff\xd8\xff",
    "gif": rb"GIF8[79]a",
    "webp": rb"RIFF....WEBP",
}
"""How the content of a picture begins, by the type of image."""

_ENCODINGS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_UNSAFE_IN_INFO = re.compile(r"[`\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
"""Characters not allowed in the first line of a fence, and surrogates (no UTF-8 encoding)."""

_LINES = re.compile(r":\d+(-\d+)?\Z")
"""The lines that an editor names after a file."""


def content_of(file: object) -> tuple[str, bytes]:
    """Return the name and content of a file read by the page's script."""
    name, data = (file.get("name"), file.get("data")) if isinstance(file, Mapping) else (None, None)
    try:
        if isinstance(name, str) and isinstance(data, str):
            return _safe(name), b64decode(data, validate=True)
    except ValueError:
        pass
    raise InvalidRequestError(
        "The page sent a file without a name or without base64 content: reload the page and choose the file again."
    )


def pictures_among(files: Sequence[tuple[str, bytes]]) -> list[Picture]:
    """Return the pictures among files (name, content). Raises InvalidRequestError for too many."""
    found = [(name, type, content) for name, content in files if (type := picture_type(content))]
    if len(found) > MAX_PICTURES or sum(len(content) for _, _, content in found) > MAX_PICTURES_BYTES:
        raise InvalidRequestError(
            f"A message has at most {MAX_PICTURES} pictures, of {MAX_PICTURES_BYTES // 1_000_000} MB together: "
            "remove some."
        )
    return [Picture(name, f"data:image/{type};base64,{b64encode(content).decode()}") for name, type, content in found]


def picture_type(content: bytes) -> str | None:
    return next((type for type, begins in PICTURE_TYPES.items() if re.match(begins, content, re.DOTALL)), None)


def attach(message: str, files: Sequence[tuple[str, bytes]]) -> str:
    """Append files (name, content) to a message.

    Raises InvalidRequestError for a file that is not text or too large.
    """
    message = message.rstrip()
    fence = open_fence(message)  # Text after an open code block would be code.
    closed = message if fence is None else f"{message}\n{fence}"
    parts = [closed] if message else []
    total = 0
    for name, content in files:
        parts.append(block(name, content))
        total += len(content)
        if total > MAX_MESSAGE_BYTES:
            raise InvalidRequestError(
                f"With {_safe(name)} the files exceed {MAX_MESSAGE_BYTES // 1000} kB together: remove some."
            )
    return "\n\n".join(parts)


def block(name: str, content: bytes) -> str:
    """Return a file as a fenced block with language and name."""
    name, text = _safe(name), text_of(name, content)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    end = "" if not text or text.endswith("\n") else "\n"
    file = PurePosixPath(_LINES.sub("", name)).name
    lexer = find_lexer_class_for_filename(file) or find_lexer_class_for_filename(file.lower())
    language = lexer.aliases[0] if lexer is not None and lexer.aliases else "text"
    return f"{fence}{language} {name}\n{text}{end}{fence}"


def text_of(name: str, content: bytes, limit: int = MAX_FILE_BYTES) -> str:
    """Return a file's text with line feeds as line ends."""
    name = _safe(name)
    if len(content) > limit:
        raise InvalidRequestError(f"{name} is larger than {limit // 1000} kB: use only the relevant part of it.")
    encoding = next((encoding for mark, encoding in _ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise _not_text(name) from None
    if "\0" in text:
        raise _not_text(name)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _not_text(name: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} is not UTF-8 text: choose a text file.")


def _safe(name: str) -> str:
    """Return a file's name, with folders only if relative: an editor names files in a workspace."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        path = PurePosixPath(PureWindowsPath(path.name).name)
    return _UNSAFE_IN_INFO.sub("_", path.as_posix() if path.name else "") or "file"
