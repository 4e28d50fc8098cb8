"""Finds what fits in the files of a workspace: pieces for completions, and files that have a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from pellucid.completion.context import uris
from pellucid.completion.context.chunk_ring import CHUNKS_PER_BUDGET
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.repository_index import RelatedPiece, RepositoryIndex
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import DocumentCursor


class WorkspaceFiles:
    """The files of some folders that may be sent to the model. Their index is made when it is first needed."""

    def __init__(self, folders: Sequence[Path], settings: ContextSettings) -> None:
        self._folders = tuple(folders)
        self._settings = settings
        self._index: RepositoryIndex | None = None
        self._refresh: asyncio.Task[None] | None = None

    async def related(self, cursor: DocumentCursor) -> list[RelatedPiece]:
        """Return the pieces that fit best to a cursor, as many as there is room for; none if the settings exclude other files."""
        index = await self._refreshed()
        if index is None:
            return []
        here = Path(uris.read(cursor.uri).path)
        return (await asyncio.to_thread(index.related, cursor.before, cursor.after, here))[:CHUNKS_PER_BUDGET]

    async def finder(self, documents: Mapping[str, Sequence[str]]) -> Callable[[Collection[str]], Iterator[tuple[str, str]]]:
        """Return a function that yields the URIs and the texts of what has one of some names. It may run on another thread.

        These are open documents, given by their URIs with their lines, and the other files as they are saved.
        """
        index, privacy = await self._refreshed(), self._privacy()

        def find(names: Collection[str]) -> Iterator[tuple[str, str]]:
            for uri, lines in documents.items():
                text = "\n".join(lines)
                if any(name in text for name in names) and privacy.refusal(None, text, uri) is None:  # it may be ignored by now
                    yield uri, text
            if index is not None:
                known = set(map(uris.file_path, documents))
                yield from ((path.as_uri(), text) for path, text in index.files_with(names) if path not in known)

        return find

    def close(self) -> None:
        """Free the memory. A refresh that is running ends soon."""
        if self._index is not None:
            self._index.close()
        if self._refresh is not None:
            self._refresh.cancel()

    async def _refreshed(self) -> RepositoryIndex | None:
        """Return the index once it is refreshed, on one thread for all who wait for it; None if the settings exclude other files."""
        if not self._settings.files_tokens:
            return None
        if self._index is None:
            privacy = self._privacy()
            self._index = RepositoryIndex(self._folders, lambda uri, text: privacy.refusal(None, text, uri) is None)
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(asyncio.to_thread(self._index.refresh))
        await asyncio.shield(self._refresh)
        return self._index

    def _privacy(self) -> Privacy:
        """Return rules for the use on another thread."""
        return Privacy(self._folders, self._settings.exclude)
