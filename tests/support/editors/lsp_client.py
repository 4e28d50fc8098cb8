"""An editor: a client of a real language server, in this process or in a separate process."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cattrs import Converter
from lsprotocol import types
from pygls.io_ import run_async
from pygls.lsp._base_server import BaseLanguageServer
from pygls.protocol import LanguageServerProtocol, default_converter
from pytest_lsp import ClientServerConfig, LanguageClient
from pytest_lsp.client import register_lsp_features

from pellucid.models.calibrations import NOT_CALIBRATED
from pellucid_lsp.copilot import copilot_methods
from pellucid_lsp.methods import standard_methods
from pellucid_lsp.run_language_server import serve

URI = "file:///project/a.py"
COMMAND = (sys.executable, "-m", "pellucid", "lsp")
INLINE = types.TextDocumentClientCapabilities(inline_completion=types.InlineCompletionClientCapabilities())
LIMIT_SECONDS = 60.0
"""A time limit for failing tests only."""


class Editor:
    """An editor with a separate language server; positions are in the negotiated encoding."""

    def __init__(self, client: LanguageClient, result: types.InitializeResult) -> None:
        self.client = client
        self.result = result
        self.statuses: list[Any] = []
        self._versions: dict[str, int] = {}
        self._has_left = False

    @property
    def messages(self) -> list[str]:
        """The messages, without the offer to calibrate the tests' model."""
        return [message.message for message in self.client.messages if NOT_CALIBRATED not in message.message]

    def open(self, uri: str, text: str, language: str = "python") -> None:
        self._versions[uri] = 1
        self.client.text_document_did_open(
            types.DidOpenTextDocumentParams(types.TextDocumentItem(uri, language, 1, text))
        )

    def close(self, uri: str) -> None:
        self.client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(uri)))

    def insert(self, uri: str, line: int, character: int, text: str) -> None:
        self.replace(uri, types.Range(types.Position(line, character), types.Position(line, character)), text)

    def replace(self, uri: str, range: types.Range, text: str) -> None:
        self._versions[uri] += 1
        self.client.text_document_did_change(
            types.DidChangeTextDocumentParams(
                types.VersionedTextDocumentIdentifier(self._versions[uri], uri),
                [types.TextDocumentContentChangePartial(range, text)],
            )
        )

    def ask(
        self,
        uri: str,
        line: int,
        character: int,
        *,
        invoked: bool = False,
        selected: types.SelectedCompletionInfo | None = None,
        id: str | None = None,
    ) -> asyncio.Future[Any]:
        """Send an inline completion request without waiting; an ``id`` permits a cancellation."""
        kind = types.InlineCompletionTriggerKind.Invoked if invoked else types.InlineCompletionTriggerKind.Automatic
        params = types.InlineCompletionParams(
            types.InlineCompletionContext(kind, selected),
            types.TextDocumentIdentifier(uri),
            types.Position(line, character),
        )
        return asyncio.wrap_future(
            self.client.protocol.send_request(types.TEXT_DOCUMENT_INLINE_COMPLETION, params, msg_id=id)
        )

    async def inline(self, uri: str, line: int, character: int, **options: Any) -> list[types.InlineCompletionItem]:
        answer = await within(self.ask(uri, line, character, **options))
        return list(answer.items)

    async def texts(self, uri: str, line: int, character: int, **options: Any) -> list[Any]:
        return [item.insert_text for item in await self.inline(uri, line, character, **options)]

    async def request(self, method: str, params: Any = None) -> Any:
        """Send a request of Pellucid's, and return a result with attributes."""
        return await within(asyncio.wrap_future(self.client.protocol.send_request(method, params)))

    async def request_raw(self, method: str, params: Any) -> Any:
        """Send a request against the protocol, and return a result with the wire's attributes."""
        answer: Future[Any] = Future()
        self.client.protocol._request_futures["raw"] = answer
        self.client.protocol._send_data({"jsonrpc": "2.0", "id": "raw", "method": method, "params": params})
        return await within(asyncio.wrap_future(answer))

    async def command(self, name: str, *arguments: Any) -> Any:
        params = types.ExecuteCommandParams(name, list(arguments))
        return await within(self.client.workspace_execute_command_async(params))

    def notify(self, method: str, params: Any = None) -> None:
        self.client.protocol.notify(method, params)

    def notify_raw(self, method: str, params: Any) -> None:
        """Send a notification against the protocol."""
        self.client.protocol._send_data({"jsonrpc": "2.0", "method": method, "params": params})

    async def leave(self) -> None:
        """Shut the server down once as editors do, and wait for the exit."""
        if self._has_left:
            return
        self._has_left = True
        await within(self.client.shutdown_async(None))
        self.client.exit(None)
        await within(self.client.stop())  # type: ignore[no-untyped-call]  # of pytest-lsp


Connect = Callable[..., Awaitable[Editor]]
"""Starts an editor, as the fixture ``connect`` does."""


async def start(
    environment: Mapping[str, str], options: Mapping[str, Any], *, command: Sequence[str] = COMMAND, **given: Any
) -> Editor:
    """Return an editor with a language server in a separate process.

    ``given`` is as for ``start_here``.
    """
    connection = await ClientServerConfig([*command], server_env={**os.environ, **environment}).start()
    assert isinstance(connection, LanguageClient)
    return await _initialized(connection, options, **given)


@cache
def converter() -> Converter:
    """Return a converter for all editors, because a converter compiles code for every type."""
    found: Converter = default_converter()  # type: ignore[no-untyped-call]  # of pygls
    return found


async def start_here(options: Mapping[str, Any], *, copilot: bool = False, **given: Any) -> Editor:
    """Return an editor with a language server in this process, configured by the environment.

    With ``copilot`` the server speaks the protocol of the Copilot language server. ``given``:
    ``folder``, ``capabilities``, ``client`` (the editor's name), and ``configuration``, the answer
    to requests for settings.
    """
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=far)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseLanguageServer.__init__, "__defaults__", (LanguageServerProtocol, converter, None))
        server = copilot_methods.create() if copilot else standard_methods.create()
    server.protocol.set_writer(writer)
    connection = LanguageClient(converter_factory=converter)
    register_lsp_features(connection)
    replies, requests = await asyncio.open_connection(sock=near)
    connection.protocol.set_writer(requests)

    async def serving() -> None:
        assert await serve(server, reader) == 0
        writer.close()
        await writer.wait_closed()

    async def receiving() -> None:
        await run_async(threading.Event(), replies, connection.protocol, error_handler=connection.report_server_error)
        requests.close()
        await requests.wait_closed()

    connection._async_tasks += [asyncio.create_task(serving()), asyncio.create_task(receiving())]
    return await _initialized(connection, options, **given)


async def _initialized(
    connection: LanguageClient,
    options: Mapping[str, Any],
    *,
    folder: Path | None = None,
    capabilities: types.ClientCapabilities | None = None,
    configuration: Mapping[str, Any] | None = None,
    client: str | None = None,
) -> Editor:
    if configuration is not None:
        connection.set_configuration(dict(configuration))
    statuses: list[Any] = []
    connection.feature("pellucid/didChangeStatus")(lambda status: statuses.append(status))
    result = await within(
        connection.initialize_session(
            types.InitializeParams(
                capabilities=capabilities or types.ClientCapabilities(text_document=INLINE),
                root_uri=None if folder is None else folder.as_uri(),
                workspace_folders=None if folder is None else [types.WorkspaceFolder(folder.as_uri(), folder.name)],
                initialization_options=dict(options),
                client_info=None if client is None else types.ClientInfo(client),
            )
        )
    )
    editor = Editor(connection, result)
    editor.statuses = statuses
    return editor


async def within(future: Any) -> Any:
    """Return the result of a future, within a time limit."""
    return await asyncio.wait_for(future, LIMIT_SECONDS)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


def arguments_of(item: Any) -> tuple[Any, ...]:
    """Return the arguments of an item's command: the suggestion's id, and a mark if partial."""
    return tuple(item.command.arguments)


def id_of(item: Any) -> str:
    """Return the id of an item's complete suggestion."""
    (id,) = arguments_of(item)
    assert isinstance(id, str)
    return id


def homes(folder: Path) -> dict[str, str]:
    """Return an environment with a test's folders for settings, state and logs."""
    names = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "HOME")
    return {name: str(folder / name.lower()) for name in names}
