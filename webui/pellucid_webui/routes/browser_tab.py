"""Browser tabs: the server keeps the last results of each tab for a reload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_TAB_CHARACTERS = 64

Tab = tuple[str, str]
"""An owner, and a name given by the browser."""


def tab_of(owner: str, asked: Mapping[str, Any]) -> Tab:
    return owner, str(asked.get("tab", ""))[:MAX_TAB_CHARACTERS]
