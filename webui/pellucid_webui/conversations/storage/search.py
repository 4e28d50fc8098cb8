"""Full-text search by plain words, never operators of SQLite's query language."""

from __future__ import annotations

import sqlite3
from collections import Counter

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.conversation import SearchMatch
from pellucid_webui.conversations.encodable_text import encodable

MAX_WORDS = 32

WITH_WORD = """
SELECT conversation.key FROM words JOIN node ON node.id = words.rowid \
JOIN conversation ON conversation.key = node.conversation
WHERE words MATCH :word AND conversation.owner = :owner AND conversation.deleted IS NULL
UNION SELECT conversation.key FROM titles JOIN conversation ON conversation.key = titles.rowid
WHERE titles MATCH :word AND conversation.owner = :owner AND conversation.deleted IS NULL
"""

BEST_FIRST = """
SELECT conversation.key AS key, node.id AS node FROM words
JOIN node ON node.id = words.rowid JOIN conversation ON conversation.key = node.conversation
WHERE words MATCH :words AND conversation.owner = :owner AND conversation.deleted IS NULL ORDER BY words.rank
"""

IN_CONVERSATION = """
SELECT node.id FROM words JOIN node ON node.id = words.rowid \
WHERE words MATCH :words AND node.conversation = :key ORDER BY node.id
"""

HIT, HIT_END = "\x02", "\x03"
"""Typed text does not contain these characters."""

SNIPPET = "SELECT snippet(words, 0, :hit, :hit_end, '…', 8) FROM words WHERE words MATCH :words AND rowid = :node"


def conversations_with(connection: sqlite3.Connection, owner: str, search: str) -> dict[int, SearchMatch]:
    """Return the conversations that contain all words, with best matches.

    Words without letters and digits are ignored.
    """
    words = _queries(search)
    found: set[int] | None = None
    for word in words:
        keys = {row["key"] for row in connection.execute(WITH_WORD, {"word": word, "owner": owner})}
        found = keys if found is None else found & keys
    return _best_matches(connection, owner, " OR ".join(words), found) if found else {}


def matching_nodes(connection: sqlite3.Connection, key: int, search: str) -> list[int]:
    """Return the messages that contain any word of a search, oldest first."""
    words = _queries(search)
    return (
        [row["id"] for row in connection.execute(IN_CONVERSATION, {"words": " OR ".join(words), "key": key})]
        if words
        else []
    )


def _best_matches(connection: sqlite3.Connection, owner: str, words: str, keys: set[int]) -> dict[int, SearchMatch]:
    best: dict[int, int] = {}
    counts: Counter[int] = Counter()
    for row in connection.execute(BEST_FIRST, {"words": words, "owner": owner}).fetchall():
        if row["key"] in keys:
            best.setdefault(row["key"], row["node"])
            counts[row["key"]] += 1
    return {
        key: SearchMatch(_snippet(connection, words, best[key]), best[key], counts[key])
        if key in best
        else SearchMatch()
        for key in keys
    }


def _snippet(connection: sqlite3.Connection, words: str, node: int) -> str:
    (found,) = connection.execute(SNIPPET, {"words": words, "node": node, "hit": HIT, "hit_end": HIT_END}).fetchone()
    return str(found)


def _queries(search: str) -> list[str]:
    # Queries for prefixes, quoted to disable operators.
    words = [
        '"' + word.replace('"', '""').replace("\0", "") + '"*'
        for word in dict.fromkeys(encodable(search).split())
        if any(map(str.isalnum, word))
    ]
    if len(words) > MAX_WORDS:
        raise InvalidRequestError(f"A search has at most {MAX_WORDS} words: remove some.")
    return words
