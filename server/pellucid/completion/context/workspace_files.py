"""Finds what fits in the files of a workspace: pieces for completions, and files that have a name."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pellucid.completion.context import uris
from pellucid.completion.context.chunk_ring import CHUNKS_PER_BUDGET
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.repository_index import RelatedPiece, RepositoryIndex
from pellucid.completion.context.search_budget import FindFiles, SearchBudget
from pellucid.completion.context.shared_thread import SharedThread
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import DocumentCursor


class WorkspaceFiles:
    """The files of some folders that may be sent to the model.

    They are looked for, and their index is made, when they are first needed.
    """

    def __init__(self, folders: Sequence[Path], settings: ContextSettings) -> None:
        self._folders = tuple(folders)
        self._settings = settings
        self._index: RepositoryIndex | None = None
        self._walking, self._reading = SharedThread(), SharedThread()

    async def related(self, cursor: DocumentCursor) -> list[RelatedPiece]:
        """Return the pieces that fit best to a cursor, as many as there is room for; none if the settings exclude other files."""
        index = self._made_index()
        if index is None:
            return []
        await self._walking.wait(index.walk)
        await self._reading.wait(index.read)
        here = Path(uris.read(cursor.uri).path)
        return (await asyncio.to_thread(index.related, cursor.before, cursor.after, here))[:CHUNKS_PER_BUDGET]

    async def finder(self, documents: Mapping[str, Sequence[str]]) -> FindFiles:
        """Return a function that yields the URIs and the texts of what has one of some names.

        It may run on another thread.

        These are open documents, given by their URIs with their lines, and the other files as they
        are saved.
        """
        index, privacy = self._made_index(), self._privacy()
        if index is not None:
            await self._walking.wait(index.walk)

        def find(names: Collection[str], budget: SearchBudget) -> Iterator[tuple[str, str]]:
            budget.files += len(documents)
            for uri, lines in documents.items():
                budget.searched += 1
                text = "\n".join(lines)
                if (
                    any(name in text for name in names) and privacy.refusal(None, text, uri) is None
                ):  # it may be ignored by now
                    yield uri, text
            if index is not None:
                known = set(map(uris.file_path, documents))
                yield from (
                    (path.as_uri(), text) for path, text in index.files_with(names, budget) if path not in known
                )

        return find

    def close(self) -> None:
        """Free the memory. What is running ends soon."""
        if self._index is not None:
            self._index.close()

    def _made_index(self) -> RepositoryIndex | None:
        """Return the index; None if the settings exclude other files."""
        if not self._settings.files_tokens:
            return None
        if self._index is None:
            privacy = self._privacy()
            self._index = RepositoryIndex(self._folders, lambda uri, text: privacy.refusal(None, text, uri) is None)
        return self._index

    def _privacy(self) -> Privacy:
        """Return rules for the use on another thread."""
        return Privacy(self._folders, self._settings.exclude)
