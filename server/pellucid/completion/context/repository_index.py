"""Search for the pieces of a repository that share the most telling names with a cursor.

SQLite's full-text search ranks the pieces by BM25 (Robertson and Zaragoza 2009). The index is in
memory and holds only names: sent text is read again from the file.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.completion.context.ignore_files import Stamp, repository
from pellucid.completion.context.permitted_files import is_code, read_content, read_text
from pellucid.completion.context.search_budget import SearchBudget
from pellucid.completion.context.workspace_walk import Walk

PIECE_LINES = 16
"""Pieces overlap by half, so related lines share a piece."""

REFRESH_SECONDS = 30.0
"""Minimum time between walks; walks take at most a twentieth of the time."""

WALK_SECONDS = 10.0
"""Time limit, for example on a slow network."""

YIELD_SECONDS = 0.001
"""Pause after each file, to answer keystrokes."""

MAX_FILES = 5_000
"""Further files are searched for names only."""

FILES_PER_PAUSE = 32

MAX_WALKED = 50_000
"""Limit for visited names: a home folder may be open as a workspace."""

MAX_BYTES = 100_000
"""Larger files are tables or generated."""

MAX_TOTAL_BYTES = 30_000_000
"""The index takes about three times as much memory."""

MAX_NAMES = 128
"""The names nearest to the cursor come first."""

MIN_NAMES = 4
"""Fewer different names in a piece say little."""

LINES_BEFORE, LINES_AFTER = 12, 6

IMPORT_LINES = 60

CANDIDATES = 24
"""Number of ranked pieces. Of overlapping pieces, only the best is returned."""

MAX_FOUND = 400

_NAME = re.compile(r"[A-Za-z_$][\w$]{2,}", re.ASCII)

_IMPORTS = re.compile(r"\s*(?:import|from|use|using|require|package|export\b.*\bfrom|\}\s*from|#\s*include)\b")

_TABLES = """
CREATE TABLE pieces (id INTEGER PRIMARY KEY, path TEXT NOT NULL, line INTEGER NOT NULL, names INTEGER NOT NULL);
CREATE INDEX pieces_of_files ON pieces (path);
CREATE VIRTUAL TABLE search USING fts5 (names, tokenize = "ascii tokenchars '_$'");
"""


@dataclass(frozen=True, slots=True)
class RelatedPiece:
    path: Path
    line: int
    text: str


class RepositoryIndex:
    """The names in the files of some folders.

    ``may_send(uri, text)`` decides whether to read and return a file. Methods may be called from
    any thread. Long methods ask ``may_continue`` before each file and keep the files done so far.
    """

    def __init__(self, folders: Sequence[Path], may_send: Callable[[str, str], bool]) -> None:
        self._folders = tuple(folders)
        self._may_send = may_send
        self._lock = threading.Lock()
        self._walking = threading.Lock()
        self._reading = threading.Lock()
        self._next_walk = 0.0
        self._closed = False
        self._found: dict[str, Stamp] = {}
        self._has_more = False
        self._indexed: dict[str, Stamp] = {}
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.executescript(_TABLES)

    def walk(self, may_continue: Callable[[], bool] = lambda: True) -> None:
        """Find the files, unless found lately. 20,000 files take a second."""
        with self._walking:
            begun = time.monotonic()
            if begun >= self._next_walk and not self._closed:
                self._walk(lambda: may_continue() and not self._closed, begun)

    def _walk(self, may_continue: Callable[[], bool], begun: float) -> None:
        found: dict[str, Stamp] = {}
        walks: list[Walk] = []

        def has_time() -> bool:
            return (
                sum(walk.names for walk in walks) < MAX_WALKED
                and time.monotonic() - begun < WALK_SECONDS
                and may_continue()
            )

        walks += [Walk(folder, repository(folder) or folder, is_code, has_time) for folder in self._folders]
        for entry in (entry for walk in walks for entry in walk.files()):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_size <= MAX_BYTES:
                found[entry.path] = status.st_mtime_ns, status.st_size
        if may_continue():
            self._found, self._has_more = found, any(walk.is_cut for walk in walks)
            self._next_walk = time.monotonic() + max(REFRESH_SECONDS, 20 * (time.monotonic() - begun))

    def read(self, may_continue: Callable[[], bool] = lambda: True) -> None:
        """Read new and changed files, and forget missing files.

        The first call takes seconds in a large repository.
        """
        with self._reading:
            chosen: dict[str, Stamp] = {}
            total = 0
            for path, stamp in self._found.items():
                total += stamp[1]
                if len(chosen) == MAX_FILES or total > MAX_TOTAL_BYTES:
                    break
                chosen[path] = stamp
            for gone in self._indexed.keys() - chosen.keys():
                self._replace(gone, None, "")
            for path, stamp in chosen.items():
                if self._closed or not may_continue():
                    return
                if self._indexed.get(path) != stamp:
                    self._replace(path, stamp, self._read(Path(path)))
                    time.sleep(YIELD_SECONDS)

    def related(self, before: str, after: str, exclude: Path | None) -> list[RelatedPiece]:
        """Return the pieces of other files that fit the cursor's lines and imports, best first."""
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

    def files_with(self, names: Collection[str], budget: SearchBudget) -> Iterator[tuple[Path, str]]:
        """Yield files with any of the names, and current texts; indexed and rare names first.

        Names with non-ASCII letters or fewer than three characters are not in the index.
        """
        with self._lock:
            if self._closed:
                return
            found, indexed = self._found, set[str]()
            budget.files += len(found)
            budget.has_more = budget.has_more or self._has_more
            likely: dict[str, None] = {}
            if all(map(_NAME.fullmatch, names)):
                indexed = {path for path, stamp in self._indexed.items() if found.get(path) == stamp}
                query = " OR ".join(f'"{name}" OR "${name}"' for name in names)
                rows = (
                    "SELECT path FROM search JOIN pieces ON id = search.rowid "
                    "WHERE search MATCH ? ORDER BY rank LIMIT ?"
                )
                likely = dict.fromkeys(row[0] for row in self._database.execute(rows, (query, MAX_FOUND)))
        # According to the index, the remaining indexed files do not have the names.
        budget.searched += len(indexed - likely.keys())
        spelled = [name.encode() for name in names]
        others = (path for path in found if path not in indexed and path not in likely)
        for number, path in enumerate((*likely, *others)):
            if self._closed or not budget.may_continue():
                return
            budget.searched += path in found
            if path in likely or any(map(read_content(Path(path), MAX_BYTES).__contains__, spelled)):
                text = self._read(Path(path))
                if text:
                    yield Path(path), text
            if not number % FILES_PER_PAUSE:
                time.sleep(YIELD_SECONDS)

    def close(self) -> None:
        """Free the memory. Running work ends soon."""
        self._closed = True
        with self._lock:
            self._database.close()

    def _read(self, path: Path) -> str:
        return read_text(path, self._folders, self._may_send, MAX_BYTES)

    def _replace(self, path: str, stamp: Stamp | None, text: str) -> None:
        pieces = list(_pieces(text))
        with self._lock:
            if self._closed:
                return
            cursor = self._database.cursor()
            cursor.execute("DELETE FROM search WHERE rowid IN (SELECT id FROM pieces WHERE path = ?)", (path,))
            cursor.execute("DELETE FROM pieces WHERE path = ?", (path,))
            self._indexed.pop(path, None)
            if stamp is not None:
                self._indexed[path] = stamp
            for line, names in pieces:
                cursor.execute("INSERT INTO pieces (path, line, names) VALUES (?, ?, ?)", (path, line, len(set(names))))
                cursor.execute("INSERT INTO search (rowid, names) VALUES (?, ?)", (cursor.lastrowid, " ".join(names)))


def _pieces(text: str) -> Iterable[tuple[int, list[str]]]:
    """Yield the first line of each piece, and all its names with repetitions."""
    lines = text.split("\n")
    for line in range(0, len(lines), PIECE_LINES // 2):
        names = _NAME.findall("\n".join(lines[line : line + PIECE_LINES]))
        if names:
            yield line, names
