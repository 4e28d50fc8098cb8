"""A language server, such as basedpyright, that is asked where names near a cursor are defined."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from pellucid.completion.context.definition_reader import FoundDefinition
from pellucid.completion.context.names_near_cursor import NamePlace, names_near
from pellucid.completion.document_cursor import DocumentCursor

LIMIT_SECONDS = 120.0
"""Maximum time of an answer: the first waits until the server has read the package."""

SILENT = ("window/logMessage", "window/showMessage", "textDocument/publishDiagnostics", "$/progress")


class DefinitionServer:
    """A running language server, asked as the plugins of the editors ask."""

    def __init__(self, client: LanguageClient) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def start(cls, command: str, folder: Path) -> AsyncIterator[Self]:
        client = LanguageClient("cross-file-completion", "1")
        for method in (*SILENT, "client/registerCapability", "window/workDoneProgress/create"):
            client.feature(method)(lambda params: None)
        client.feature("workspace/configuration")(lambda params: [{} for _ in params.items])
        await client.start_io(*shlex.split(command))
        links = types.TypeDefinitionClientCapabilities(link_support=True)
        document = types.TextDocumentClientCapabilities(
            definition=types.DefinitionClientCapabilities(link_support=True), type_definition=links
        )
        workspace = types.WorkspaceClientCapabilities(configuration=True, workspace_folders=True)
        await client.initialize_async(
            types.InitializeParams(
                capabilities=types.ClientCapabilities(workspace=workspace, text_document=document),
                root_uri=folder.as_uri(),
                workspace_folders=[types.WorkspaceFolder(folder.as_uri(), folder.name)],
            )
        )
        client.initialized(types.InitializedParams())
        try:
            yield cls(client)
        finally:
            await client.shutdown_async(None)
            client.exit(None)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(client.stop(), 10)  # type: ignore[no-untyped-call]  # of pygls

    async def find(self, cursor: DocumentCursor) -> dict[str, list[FoundDefinition]]:
        """Return where the names near a cursor are defined."""
        document = types.TextDocumentItem(cursor.uri, cursor.language, 1, cursor.before + cursor.after)
        self._client.text_document_did_open(types.DidOpenTextDocumentParams(document))
        try:
            return {place.name: await self._look_up(cursor.uri, place) for place in names_near(cursor)}
        finally:
            identifier = types.TextDocumentIdentifier(cursor.uri)
            self._client.text_document_did_close(types.DidCloseTextDocumentParams(identifier))

    async def _look_up(self, uri: str, place: NamePlace) -> list[FoundDefinition]:
        document, position = types.TextDocumentIdentifier(uri), types.Position(place.line, place.column)
        answers = await asyncio.wait_for(
            asyncio.gather(
                self._client.text_document_definition_async(types.DefinitionParams(document, position)),
                self._client.text_document_type_definition_async(types.TypeDefinitionParams(document, position)),
                return_exceptions=True,
            ),
            LIMIT_SECONDS,
        )
        found: list[FoundDefinition] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, JsonRpcException):
                raise answer
            found += [] if isinstance(answer, BaseException) else _places(place.name, answer)
        return found


def _places(name: str, answer: Any) -> list[FoundDefinition]:
    places: list[FoundDefinition] = []
    several: Sequence[Any] = answer if isinstance(answer, list) else [] if answer is None else [answer]
    for one in several:
        is_link = isinstance(one, types.LocationLink)
        start = (one.target_selection_range if is_link else one.range).start
        uri = one.target_uri if is_link else one.uri
        places.append(FoundDefinition(name, uri, start.line, start.character))
    return places
