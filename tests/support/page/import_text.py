"""Imports a text as the page does, from a gzipped file."""

from __future__ import annotations

import gzip

from pellucid_webui.conversations.exchange.import_export import read_file
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings


def import_text(store: ConversationStore, owner: str, text: str, name: str) -> str:
    """Return the id of the first conversation."""
    return read_file(store, owner, gzip.compress(text.encode()), name, TurnSettings()).ids[0]
