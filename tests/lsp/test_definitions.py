"""The client finds where names are defined; the definitions become context, if permitted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types

from pellucid.completion import idle_prefill
from pellucid_lsp import definition_lookup
from pellucid_lsp.methods.definition_methods import FIND
from support.editors.lsp_client import LIMIT_SECONDS, Connect, Editor, until
from support.servers.http_servers import ScriptedAssistant, spoken

ORDERS = "class OrderBook:\n    def add_order(self, order, limit):\n        self.orders = [*self.orders, order]\n"
MAIN = 'from orders import OrderBook\n\ntext = "é😀"; book = OrderBook()\nbook.'
AT = (3, 5)
START = {"line": 0, "character": 6}
WHOLE = types.Range(types.Position(0, 0), types.Position(99, 0))
OUTLINE = "class OrderBook:\n    def add_order(self, order, limit):\n    self.orders\n"


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_prefill, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(definition_lookup, "ASK_SECONDS", 0.0)


class Client:
    """An editor that answers with the given places of names, each with a description."""

    def __init__(self, editor: Editor, places: Mapping[str, Sequence[tuple[str, str]]]) -> None:
        self.editor = editor
        self.places = places
        self.asked: list[dict[str, tuple[int, int]]] = []
        self.documents: list[str] = []
        editor.client.feature(FIND)(lambda params: self._answer(params))

    def _answer(self, params: Any) -> None:
        self.documents.append(params.textDocument.uri)
        self.asked.append({one.name: (one.position.line, one.position.character) for one in params.names})
        range = {"start": START, "end": START}
        names = [
            {
                "name": name,
                "definitions": [{"uri": uri, "range": range, "description": text} for uri, text in self.places[name]],
            }
            for name in self.asked[-1]
            if name in self.places
        ]
        document = {"uri": params.textDocument.uri}
        self.editor.notify("pellucid/definitions", {"textDocument": document, "names": names})


class Workspace:
    """A workspace with ``orders.py``, and ``main.py`` open in an editor."""

    def __init__(self, folder: Path, connect: Connect, assistant: ScriptedAssistant) -> None:
        self.folder = folder / "workspace"
        self.folder.mkdir()
        self.orders = self.write("orders.py", ORDERS)
        self.main = (self.folder / "main.py").as_uri()
        self._connect = connect
        self._assistant = assistant
        assistant.script = [spoken("add_order", 5, 14), spoken("\n", 14, 15)]

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path.as_uri()

    async def open(
        self, places: Mapping[str, Sequence[tuple[str, str]]], *, finds: bool = True, **context: Any
    ) -> Client:
        options = {"findDefinitions": finds, "context": {"filesTokens": 0} | context}
        editor = await self._connect(folder=self.folder, options=options)
        client = Client(editor, places)
        editor.open(self.main, MAIN)
        return client

    def read(self) -> list[tuple[str, str]]:
        """Return the context that the model has read in all requests so far."""
        return [(one.filename, one.text) for call in self._assistant.calls for one in call["extra"]]

    def suggested_with(self) -> list[tuple[str, str]]:
        """Return the context of the last suggestion, if any."""
        asked = [call for call in self._assistant.calls if call["params"].max_tokens]
        return [(one.filename, one.text) for call in asked[-1:] for one in call["extra"]]


@pytest.fixture
def workspace(tmp_path: Path, connect: Connect, assistant: ScriptedAssistant) -> Workspace:
    return Workspace(tmp_path, connect, assistant)


async def sentence(client: Client) -> str:
    return str((await client.editor.request("pellucid/status")).definitions)


async def type_until(client: Client, workspace: Workspace, holds: Callable[[], bool]) -> None:
    """Request suggestions, as a user who types, until a condition holds."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not holds():
            await client.editor.texts(workspace.main, *AT)
            await asyncio.sleep(0.05)


async def test_definitions_are_context(workspace: Workspace) -> None:
    """The outline of a class in a file that is not open is in the next prompts."""
    client = await workspace.open({"OrderBook": [(workspace.orders, "")], "book": [(workspace.main, "")]})
    await until(lambda: bool(workspace.read()))

    # In UTF-16, a character outside of the basic plane has two units.
    assert client.asked[0] == {"book": (3, 0), "OrderBook": (2, 21), "text": (2, 0)}
    await type_until(client, workspace, lambda: workspace.suggested_with() == [("orders.py", OUTLINE)])
    assert await sentence(client) == (
        "The editor's language servers were asked for 2 names, and found the definitions of 1 in other files."
    )


async def test_an_open_document_is_read_as_it_is(workspace: Workspace) -> None:
    """Of an open document the unsaved text is read, and after an edit it is read again."""
    client = await workspace.open({})
    client.editor.open(workspace.orders, "")
    client.editor.replace(workspace.orders, WHOLE, ORDERS.replace("add_order", "insert"))
    client.places = {"OrderBook": [(workspace.orders, "")]}
    changed = OUTLINE.replace("add_order", "insert")
    await type_until(client, workspace, lambda: workspace.suggested_with() == [("orders.py", changed)])

    client.editor.replace(workspace.orders, WHOLE, ORDERS)
    await type_until(client, workspace, lambda: workspace.suggested_with() == [("orders.py", OUTLINE)])


async def test_names_are_asked_for_until_they_are_found(workspace: Workspace) -> None:
    """Names are asked for at each pause while no language server answers, and then never."""
    client = await workspace.open({"OrderBook": []})
    await until(lambda: bool(client.asked))
    await type_until(client, workspace, lambda: len(client.asked) > 1)
    assert client.asked[1] == client.asked[0]
    client.places = {"OrderBook": [(workspace.orders, "")], "book": [], "text": []}
    await type_until(client, workspace, lambda: bool(workspace.suggested_with()))

    known = len(client.asked)
    client.editor.insert(workspace.main, *AT, "limit")
    await client.editor.texts(workspace.main, AT[0], AT[1] + 5)
    await until(lambda: ["limit"] in [[*names] for names in client.asked[known:]])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ignored.py", ORDERS),
        (".hidden/orders.py", ORDERS),
        ("node_modules/orders.py", ORDERS),
        ("secrets.py", ORDERS),
        ("orders.txt", ORDERS),
        ("excluded.py", ORDERS),
    ],
)
async def test_private_files(workspace: Workspace, name: str, text: str) -> None:
    """Ignored, hidden, secret and excluded files, dependencies and other text are not read."""
    workspace.write(".pellucidignore", "ignored.py\n")
    client = await workspace.open({"OrderBook": [(workspace.write(name, text), "")]}, exclude=["excluded.py"])
    await until(lambda: bool(client.asked))
    await client.editor.texts(workspace.main, *AT)
    assert workspace.read() == []
    assert "of 0 in other files" in await sentence(client)


async def test_definitions_outside_of_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    """Of a file outside only the client's description is used, unless the file's name is secret."""
    (tmp_path / "library.py").write_text(ORDERS)
    (tmp_path / "workspace" / "link.py").symlink_to(tmp_path / "library.py")
    hover = "```python\n(class) OrderBook\n```\nA long explanation."
    places = [
        ((tmp_path / "library.py").as_uri(), hover),
        ((tmp_path / ".env").as_uri(), "```\nKEY=1\n```"),
        ((workspace.folder / "link.py").as_uri(), ""),
    ]
    client = await workspace.open({"OrderBook": places})
    await type_until(client, workspace, lambda: bool(workspace.suggested_with()))
    assert workspace.suggested_with() == [("library.py", "(class) OrderBook\n")]


async def test_a_file_that_is_ignored_later(workspace: Workspace) -> None:
    """A definition leaves the prompts as soon as its file is ignored."""
    client = await workspace.open({"OrderBook": [(workspace.orders, "")]})
    await type_until(client, workspace, lambda: bool(workspace.suggested_with()))
    workspace.write(".pellucidignore", "orders.py\n")
    client.editor.insert(workspace.main, *AT, "other")
    await client.editor.texts(workspace.main, AT[0], AT[1] + 5)
    assert workspace.suggested_with() == []


@pytest.mark.parametrize(("finds", "tokens", "reason"), [(False, 512, "does not look up"), (True, 0, "is 0")])
async def test_switched_off(workspace: Workspace, finds: bool, tokens: int, reason: str) -> None:
    """A client that does not look up definitions is not asked, nor without a budget."""
    client = await workspace.open({"OrderBook": []}, finds=finds, definitionsTokens=tokens)
    for _ in range(3):
        await client.editor.texts(workspace.main, *AT)
    assert client.asked == []
    assert reason in await sentence(client)


async def test_answers_against_the_protocol(workspace: Workspace) -> None:
    """A malformed answer, and an answer for a closed document, change nothing."""
    client = await workspace.open({"OrderBook": [(workspace.orders, "")]})
    await until(lambda: bool(workspace.read()))
    before = await sentence(client)
    for params in ({}, {"textDocument": {"uri": workspace.main}, "names": [{"name": 7}]}, {"textDocument": 7}):
        client.editor.notify("pellucid/definitions", params)
    client.editor.notify("pellucid/definitions", {"textDocument": {"uri": "file:///none.py"}, "names": []})
    await type_until(client, workspace, lambda: workspace.suggested_with() == [("orders.py", OUTLINE)])
    assert await sentence(client) == before


async def test_cells_are_left_out(workspace: Workspace) -> None:
    """The names of a notebook's cell are not asked for: the prompt has the other cells, too."""
    client = await workspace.open({"OrderBook": [(workspace.orders, "")]})
    await until(lambda: bool(client.asked))
    cells = [f"vscode-notebook-cell:/n.ipynb#{number}" for number in range(2)]
    texts = ["from orders import OrderBook", "OrderBook"]
    client.editor.client.notebook_document_did_open(
        types.DidOpenNotebookDocumentParams(
            types.NotebookDocument(
                "file:///n.ipynb",
                "jupyter-notebook",
                1,
                [types.NotebookCell(types.NotebookCellKind.Code, uri) for uri in cells],
            ),
            [types.TextDocumentItem(uri, "python", 1, text) for uri, text in zip(cells, texts, strict=True)],
        )
    )
    for _ in range(3):
        await client.editor.texts(cells[1], 0, 9)
    assert set(client.documents) == {workspace.main}
