"""Search in a workspace's files: pieces for completions, and files with given names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event

from pellucid.completion.context import uris
from pellucid.completion.context.chunk_ring import CHUNKS_PER_BUDGET
from pellucid.completion.context.definition_reader import DefinitionReader, FoundDefinition
from pellucid.completion.context.definitions import Definition
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.repository_index import RelatedPiece, RepositoryIndex
from pellucid.completion.context.search_budget import FindFiles, SearchBudget
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings

Work = Callable[[Callable[[], bool]], None]


class SharedThread:
    """Work on another thread for all waiting callers, stopped when no caller waits."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._stopped = Event()
        self._waiting = 0

    async def wait(self, work: Work) -> None:
        """Wait for the running work, or begin. The last cancelled caller stops the work."""
        if self._task is None or self._task.done() or self._stopped.is_set():
            stopped = self._stopped = Event()
            self._task = asyncio.create_task(asyncio.to_thread(work, lambda: not stopped.is_set()))
            self._waiting = 0
        task, stopped = self._task, self._stopped
        self._waiting += 1
        try:
            await asyncio.shield(task)
        finally:
            if stopped is self._stopped:
                self._waiting -= 1
                if not self._waiting:
                    stopped.set()


class WorkspaceFiles:
    """Files of some folders, except private files. The index is made at the first need."""

    def __init__(self, folders: Sequence[Path], settings: ContextSettings) -> None:
        self._folders = tuple(folders)
        self._settings = settings
        self._index: RepositoryIndex | None = None
        self._walking, self._reading = SharedThread(), SharedThread()

    async def related(self, cursor: DocumentCursor) -> list[RelatedPiece]:
        """Return the pieces that fit best to a cursor and into the budget, if settings allow."""
        index = self._made_index()
        if index is None:
            return []
        await self._walking.wait(index.walk)
        await self._reading.wait(index.read)
        here = Path(uris.read(cursor.uri).path)
        return (await asyncio.to_thread(index.related, cursor.before, cursor.after, here))[:CHUNKS_PER_BUDGET]

    async def definitions(
        self, found: Mapping[str, Sequence[FoundDefinition]], filename: Callable[[str], str], most_characters: int
    ) -> dict[str, list[Definition]]:
        """Return the outlines of definitions by name."""
        reader = DefinitionReader(self._folders, self._privacy().permits, filename, most_characters)

        def read() -> dict[str, list[Definition]]:
            return {name: [made for one in many if (made := reader.read(one))] for name, many in found.items()}

        return await asyncio.to_thread(read)

    async def finder(self, documents: Mapping[str, Sequence[str]]) -> FindFiles:
        """Return a function that yields URIs and texts with any of the given names.

        The function searches open ``documents`` (lines by URI) and saved files, and may run on any
        thread.
        """
        index, privacy = self._made_index(), self._privacy()
        if index is not None:
            await self._walking.wait(index.walk)

        def find(names: Collection[str], budget: SearchBudget) -> Iterator[tuple[str, str]]:
            budget.files += len(documents)
            for uri, lines in documents.items():
                budget.searched += 1
                text = "\n".join(lines)
                # The document may have been ignored by now.
                if any(name in text for name in names) and privacy.permits(uri, text):
                    yield uri, text
            if index is not None:
                known = set(map(uris.file_path, documents))
                yield from (
                    (path.as_uri(), text) for path, text in index.files_with(names, budget) if path not in known
                )

        return find

    def close(self) -> None:
        if self._index is not None:
            self._index.close()

    def _made_index(self) -> RepositoryIndex | None:
        """Return the index, unless the settings exclude additional files."""
        if not self._settings.files_tokens:
            return None
        if self._index is None:
            self._index = RepositoryIndex(self._folders, self._privacy().permits)
        return self._index

    def _privacy(self) -> Privacy:
        """Return new rules, for use off the main thread."""
        return Privacy(self._folders, self._settings.exclude)
