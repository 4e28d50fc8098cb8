"""Searches conversations by words. The words are plain text, never operators of SQLite's query language."""

from __future__ import annotations

import sqlite3

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.encodable_text import encodable

MAX_WORDS = 32
"""Most words of a search."""

WITH_WORD = """
SELECT conversation.key FROM words JOIN node ON node.id = words.rowid JOIN conversation ON conversation.key = node.conversation
WHERE words MATCH :word AND conversation.owner = :owner
UNION SELECT conversation.key FROM titles JOIN conversation ON conversation.key = titles.rowid
WHERE titles MATCH :word AND conversation.owner = :owner
"""

BEST_FIRST = """
SELECT conversation.key AS key, node.id AS node FROM words
JOIN node ON node.id = words.rowid JOIN conversation ON conversation.key = node.conversation
WHERE words MATCH :words AND conversation.owner = :owner ORDER BY words.rank
"""

HIT, HIT_END = "\x02", "\x03"
"""Mark the words of a snippet that match: typed text does not contain these characters."""

SNIPPET = "SELECT snippet(words, 0, :hit, :hit_end, '…', 8) FROM words WHERE words MATCH :words AND rowid = :node"


def conversations_with(run: sqlite3.Connection, owner: str, search: str) -> dict[int, str]:
    """Return the keys of the conversations that contain all words of a search, each with its best snippet.

    Words without letters and digits are ignored.
    """
    words = [_quoted(word) for word in dict.fromkeys(encodable(search).split()) if any(map(str.isalnum, word))]
    if len(words) > MAX_WORDS:
        raise InvalidRequestError(f"A search has at most {MAX_WORDS} words: remove some.")
    found: set[int] | None = None
    for word in words:
        keys = {row["key"] for row in run.execute(WITH_WORD, {"word": word, "owner": owner})}
        found = keys if found is None else found & keys
    return _snippets(run, owner, " OR ".join(words), found) if found else {}


def _snippets(run: sqlite3.Connection, owner: str, words: str, keys: set[int]) -> dict[int, str]:
    """Return the best snippet of each conversation, empty if only its title matches."""
    found = dict.fromkeys(keys, "")
    for row in run.execute(BEST_FIRST, {"words": words, "owner": owner}).fetchall():
        if found.get(row["key"]) == "":
            wanted = {"words": words, "node": row["node"], "hit": HIT, "hit_end": HIT_END}
            found[row["key"]] = run.execute(SNIPPET, wanted).fetchone()[0]
    return found


def _quoted(word: str) -> str:
    """Return a query for words that begin with this one, quoted so that nothing in it is an operator."""
    return '"' + word.replace('"', '""').replace("\0", "") + '"*'
