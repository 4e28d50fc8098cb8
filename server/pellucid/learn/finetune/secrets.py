"""Detects keys and passwords that a model must not learn.

The patterns are chosen for few false alarms and miss some secrets.
"""

from __future__ import annotations

import math
import re
from collections import Counter

_FORMS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "AWS key": r"\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}\b",
    "GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{60,}\b",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "OpenAI-like key": r"\bsk-(?:[A-Za-z]+-)*[A-Za-z0-9_]{20,}",
    "Google key": r"\bAIza[A-Za-z0-9_-]{35}",
    "Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{16,}",
    "Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "package index token": r"\bpypi-[A-Za-z0-9_-]{50,}|\bnpm_[A-Za-z0-9]{36}\b",
}
_KNOWN = re.compile("|".join(f"(?P<k{number}>{form})" for number, form in enumerate(_FORMS.values())))

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>]{1,80}:(?P<value>[^\s/:@'\"<>]{4,80})@[A-Za-z0-9\[]")
_ASSIGNED = re.compile(
    r"(?i)\b[\w.-]{0,40}"
    r"(?:api[_-]?key|secret|token|passwd|password|credential|private[_-]?key|access[_-]?key)[\w-]{0,20}"
    r"[\"']?\s{0,4}(?::|=>?|:=)"
    r"(?:\s{0,4}[\"'](?P<quoted>[A-Za-z0-9+/=_.-]{16,200})[\"']"
    r"|[ \t]{0,4}(?P<bare>[A-Za-z0-9+/=_.-]{16,200})(?=[\s,;&#\"']|\Z))"
)
_BETWEEN_LETTER_AND_DIGIT = re.compile(r"(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_PLACEHOLDER = re.compile(r"(?i)pass|pwd|secret|token|user|example|dummy|test|your|change|xxx|\*\*\*|[{}<>$%]")

RANDOM_BITS = 3.5
"""Minimum bits per character of a random value. Words have fewer, random text more."""

MIXTURE = 4
"""Minimum changes between letters and digits in a random unquoted word. Names have fewer."""


def kind_of_secret(text: str) -> str | None:
    known = _KNOWN.search(text)
    if known is not None:
        assert known.lastgroup is not None
        return list(_FORMS)[int(known.lastgroup[1:])]
    if any(not _PLACEHOLDER.search(match["value"]) for match in _URL.finditer(text)):
        return "password in a URL"
    for match in _ASSIGNED.finditer(text):
        value = match["quoted"] or match["bare"]
        # A value without quotes may be a name.
        changes = _BETWEEN_LETTER_AND_DIGIT.findall(max(value.split("."), key=len))
        if (match["quoted"] or len(changes) >= MIXTURE) and _is_random(value):
            return "random value of a key or password"
    return None


def _is_random(value: str) -> bool:
    mixed = any(character.isdigit() for character in value) and any(character.isalpha() for character in value)
    return mixed and not _PLACEHOLDER.search(value) and entropy(value) >= RANDOM_BITS


def entropy(value: str) -> float:
    """Return bits per character (Shannon 1948)."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())
