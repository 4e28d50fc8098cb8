"""Finds the pieces of a repository's files that share the most telling names with the text around a cursor.

SQLite's full-text search ranks them by BM25 (Robertson and Zaragoza 2009). The index is in memory and holds only the names that are in
each piece: what is sent is read again from the file.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from pellucid.completion.context.ignore_files import file_stamp
from pellucid.completion.context.workspace_walk import files_below
from pellucid.completion.suggestion import normalize_newlines

PIECE_LINES = 16
"""Lines of a piece. Pieces begin every half of it, so that what belongs together is in one of them."""

REFRESH_SECONDS = 30.0
"""The index is not refreshed more often than this, nor more than a twentieth of the time."""

YIELD_SECONDS = 0.001
"""The pause after each file that is read, so that keystrokes are answered meanwhile."""

MAX_FILES = 5_000
"""Files of the workspace that are indexed; further ones are not."""

MAX_WALKED = 50_000
"""Names of files that are looked at, of whatever kind: a home folder may be open as a workspace."""

MAX_BYTES = 100_000
"""Size of the largest file that is indexed: larger ones are tables or generated."""

MAX_TOTAL_BYTES = 30_000_000
"""Size of all files that are indexed. The index takes about three times as much memory."""

MAX_NAMES = 128
"""Names that are looked for, those nearest to the cursor first."""

MIN_NAMES = 4
"""A piece with fewer different names says little, so that it is not among those that fit to a cursor."""

LINES_BEFORE, LINES_AFTER = 12, 6
"""Lines around the cursor whose names are looked for."""

IMPORT_LINES = 60
"""Lines at the start of a document in which the names of imports are looked for too."""

CANDIDATES = 24
"""Pieces that are ranked; of overlapping ones only the best is returned."""

MAX_FOUND = 400
"""The most pieces that are looked up for some names, those with rare names first."""

SUFFIXES = frozenset({
    ".c", ".cc", ".cpp", ".cs", ".dart", ".el", ".ex", ".go", ".h", ".hpp", ".hs", ".java", ".jl", ".js", ".jsx", ".kt", ".lua", ".mjs",
    ".php", ".pl", ".py", ".pyi", ".r", ".rb", ".rs", ".scala", ".sh", ".swift", ".ts", ".tsx", ".vue", ".zig",
})  # fmt: skip
"""The kinds of files that are indexed."""

_SECRETS = re.compile(r"(?:.*[._-])?(?:secrets?|credentials?|passwords?|env|service[_-]?account)(?:[._-].*)?", re.IGNORECASE)
"""Matches the stems of files that are not sent unless they are opened: they may hold secrets, even if they are code."""

_NAME = re.compile(r"[A-Za-z_$][\w$]{2,}", re.ASCII)

_READ_ONLY = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_IMPORTS = re.compile(r"\s*(?:import|from|use|using|require|package|export\b.*\bfrom|\}\s*from|#\s*include)\b")

_TABLES = """
CREATE TABLE files (path TEXT PRIMARY KEY, modified INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE pieces (id INTEGER PRIMARY KEY, path TEXT NOT NULL, line INTEGER NOT NULL, names INTEGER NOT NULL);
CREATE INDEX pieces_of_files ON pieces (path);
CREATE VIRTUAL TABLE search USING fts5 (names, tokenize = "ascii tokenchars '_$'");
"""


@dataclass(frozen=True, slots=True)
class RelatedPiece:
    """A piece of a file as it is now: its first line, counted from 0, and the file's text."""

    path: Path
    line: int
    text: str


class RepositoryIndex:
    """The names in the files of some folders. ``may_send(uri, text)`` decides which files may be read into it and returned.

    Its methods may be called from any thread.
    """

    def __init__(self, folders: Sequence[Path], may_send: Callable[[str, str], bool]) -> None:
        self._folders = tuple(folders)
        self._may_send = may_send
        self._lock = threading.Lock()
        self._refreshing = threading.Lock()
        self._next_refresh = 0.0
        self._closed = False
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_TABLES)

    def refresh(self) -> None:
        """Read the files that are new or have changed, and forget those that are gone, unless that was done or begun lately.

        The first time takes seconds in a large repository.
        """
        begun = time.monotonic()
        if begun < self._next_refresh or not self._refreshing.acquire(blocking=False):
            return
        try:
            self._refresh()
        finally:
            self._next_refresh = time.monotonic() + max(REFRESH_SECONDS, 20 * (time.monotonic() - begun))
            self._refreshing.release()

    def _refresh(self) -> None:
        found: dict[str, tuple[int, int]] = {}
        walked, total = 0, 0

        def wanted(name: str) -> bool:
            nonlocal walked
            walked += 1
            path = Path(name)
            return path.suffix in SUFFIXES and not _SECRETS.fullmatch(path.stem) and name.isprintable()  # one in no encoding is not

        def may_continue() -> bool:
            return walked < MAX_WALKED and not self._closed

        for path in (path for folder in self._folders for path in files_below(folder, wanted, may_continue=may_continue)):
            stamp = file_stamp(path)
            if stamp is None or stamp[1] > MAX_BYTES:
                continue
            total += stamp[1]
            if len(found) == MAX_FILES or total > MAX_TOTAL_BYTES:
                break
            found[str(path)] = stamp
        with self._lock:
            if self._closed:
                return
            known = {path: (modified, size) for path, modified, size in self._database.execute("SELECT * FROM files")}
        for gone in known.keys() - found.keys():
            self._replace(gone, None, "")
        for name, stamp in found.items():
            if known.get(name) != stamp and not self._closed:
                self._replace(name, stamp, self._read(Path(name)))
                time.sleep(YIELD_SECONDS)

    def related(self, before: str, after: str, exclude: Path | None) -> list[RelatedPiece]:
        """Return the pieces of other files that fit best to the lines around a cursor and the document's imports, the best first."""
        above = before.split("\n")
        imports = [line for line in above[:IMPORT_LINES] if _IMPORTS.match(line)]
        near = [*reversed(above[-LINES_BEFORE:]), *after.split("\n")[: LINES_AFTER + 1], *imports]
        names = list(dict.fromkeys(_NAME.findall("\n".join(near))))[:MAX_NAMES]
        if not names:
            return []
        query = " OR ".join(f'"{name}"' for name in names)
        with self._lock:
            if self._closed:
                return []
            rows = self._database.execute(
                "SELECT path, line FROM search JOIN pieces ON id = search.rowid "
                "WHERE search MATCH ? AND path != ? AND pieces.names >= ? ORDER BY rank LIMIT ?",
                (query, str(exclude), MIN_NAMES, CANDIDATES),
            ).fetchall()
        pieces: list[RelatedPiece] = []
        for path, line in rows:
            if not any(str(one.path) == path and abs(one.line - line) < PIECE_LINES for one in pieces):
                text = self._read(Path(path))
                if text:
                    pieces.append(RelatedPiece(Path(path), line, text))
        return pieces

    def files_with(self, names: Iterable[str]) -> Iterator[tuple[Path, str]]:
        """Yield the files that have one of some names, with their texts as they are now. Those with rare names come first.

        Names of other letters than ASCII's, and those that are shorter than three, are not looked for.
        """
        query = " OR ".join(f'"{name}" OR "${name}"' for name in names if _NAME.fullmatch(name))
        if not query:
            return
        with self._lock:
            if self._closed:
                return
            rows = self._database.execute(
                "SELECT path FROM search JOIN pieces ON id = search.rowid WHERE search MATCH ? ORDER BY rank LIMIT ?", (query, MAX_FOUND)
            ).fetchall()
        for path in dict.fromkeys(Path(row[0]) for row in rows):
            text = self._read(path)
            if text:
                yield path, text

    def close(self) -> None:
        """Free the memory. A refresh that is running ends soon."""
        self._closed = True
        with self._lock:
            self._database.close()

    def _read(self, path: Path) -> str:
        """Return the text of a file; empty if it cannot be read, is no longer what the walk has found, or must not be sent."""
        try:
            if not any(Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)) for folder in self._folders):
                return ""
            with open(os.open(path, _READ_ONLY), "rb") as file:  # noqa: PTH123 - a path that has become a link or a pipe is not followed
                status = os.fstat(file.fileno())
                content = file.read(MAX_BYTES + 1) if S_ISREG(status.st_mode) else b""
            text = normalize_newlines(content.decode()) if len(content) <= MAX_BYTES else ""
        except (OSError, UnicodeDecodeError):
            return ""
        return text if text and self._may_send(path.as_uri(), text) else ""

    def _replace(self, path: str, stamp: tuple[int, int] | None, text: str) -> None:
        """Replace all that is known of a file; without a stamp it is gone."""
        pieces = list(_pieces(text))
        with self._lock:
            if self._closed:
                return
            cursor = self._database.cursor()
            cursor.execute("DELETE FROM search WHERE rowid IN (SELECT id FROM pieces WHERE path = ?)", (path,))
            cursor.execute("DELETE FROM pieces WHERE path = ?", (path,))
            cursor.execute("DELETE FROM files WHERE path = ?", (path,))
            if stamp is not None:
                cursor.execute("INSERT INTO files VALUES (?, ?, ?)", (path, *stamp))
            for line, names in pieces:
                cursor.execute("INSERT INTO pieces (path, line, names) VALUES (?, ?, ?)", (path, line, len(set(names))))
                cursor.execute("INSERT INTO search (rowid, names) VALUES (?, ?)", (cursor.lastrowid, " ".join(names)))


def _pieces(text: str) -> Iterable[tuple[int, list[str]]]:
    """Yield the first line of each piece, and its names, repeated as often as they are in it."""
    lines = text.split("\n")
    for line in range(0, len(lines), PIECE_LINES // 2):
        names = _NAME.findall("\n".join(lines[line : line + PIECE_LINES]))
        if names:
            yield line, names
