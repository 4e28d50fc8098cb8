"""The running requests for next edits of an editor's documents."""

from __future__ import annotations

from functools import partial

from pellucid.completion.context.workspace_files import WorkspaceFiles
from pellucid.completion.edits.edit_memory import NextEdit
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.request_sharing import SharedRequests
from pellucid.completion.sending_policy import SendingPolicy
from pellucid.completion.settings import GateLevel


class NextEditRequests:
    """At most one request per document, and a request for edits in further files."""

    def __init__(self, edits: NextEdits, policy: SendingPolicy, files: WorkspaceFiles, level: GateLevel) -> None:
        self.edits = edits
        self._policy = policy
        self._files = files
        self._level = level
        self._own: SharedRequests[list[NextEdit]] = SharedRequests()
        self._elsewhere: SharedRequests[list[NextEdit]] = SharedRequests()

    async def own(
        self, uri: str, text: str, version: int | None, cursor: tuple[int, int] | None = None
    ) -> list[NextEdit]:
        """Return the likely next edits, shared by requests with the cursor on the same line.

        ``cursor`` is a line and a character.
        """
        self.cancel_elsewhere()
        if not self._policy.may_send(uri, text):
            return []
        start = partial(self.edits.suggest, uri, text, self._level, cursor)
        return await self._own.run(uri, (version, cursor and cursor[0]), start) or []

    async def elsewhere(self, uri: str, text: str, version: int | None) -> list[NextEdit]:
        if not self._policy.may_send(uri, text):
            return []
        return await self._elsewhere.run("", (uri, version), partial(self._search_files, uri)) or []

    def note(self, uri: str, text: str) -> None:
        """Add a changed text to the history, and cancel the document's request."""
        self._own.cancel(uri)
        if self._policy.may_send(uri, text):
            self.edits.history.note(uri, text)
        else:
            self.edits.history.forget(uri)

    def forget(self, uri: str) -> None:
        self._own.cancel(uri)
        self.cancel_elsewhere()
        self.edits.history.forget(uri)

    def cancel_elsewhere(self) -> None:
        self._elsewhere.cancel_all()

    def cancel_all(self) -> None:
        self._own.cancel_all()
        self.cancel_elsewhere()

    async def _search_files(self, uri: str) -> list[NextEdit]:
        find_files = await self._files.finder(self.edits.history.documents())
        return await self.edits.suggest_elsewhere(uri, find_files, self._level)
