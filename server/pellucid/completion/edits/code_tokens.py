"""Code split into words, numbers, spaces and signs, without knowledge of the language."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"\w+|[^\S\n]+|[^\w\s]|\n")
_NAME = re.compile(r"[^\W\d]\w*\Z")


def code_tokens(text: str) -> list[str]:
    return _TOKEN.findall(text)


def is_name(token: str) -> bool:
    return _NAME.match(token) is not None


def is_word(token: str) -> bool:
    return token[:1].isalnum() or token[:1] == "_"
