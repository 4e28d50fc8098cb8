"""Lines, positions and edits of documents are in the client's units."""

import asyncio
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace.position_codec import ServerTextPosition

from pellucid.errors import InvalidRequestError
from pellucid_lsp.documents import Codec, Documents, OpenDocument, cursor_at, install_documents, split_lines

ENCODINGS = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}
PIECES = [
    "a",
    "b",
    " ",
    "\n",
    "\r\n",
    "\r",
    "\f",
    "\v",
    "\x1c",
    "\x85",
    "\u2028",
    "\u2029",
    "é",
    "\u0301",
    "漢",
    "😋",
    "\U0001d4b3",
    "def f():\n",
]
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join)
encodings = st.sampled_from(list(ENCODINGS))
NOTEBOOK = "file:///project/a%20b/notes.ipynb"


def model_lines(text: str) -> list[str]:
    """Return the lines without line endings, as defined by the specification."""
    return re.split(r"\r\n|\n|\r", text)


def model_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]


def units(text: str, encoding: str) -> int:
    codec, size = ENCODINGS[encoding]
    return len(text.encode(codec)) // size


def model_position(text: str, offset: int, encoding: str) -> types.Position:
    line = max(index for index, start in enumerate(model_starts(text)) if start <= offset)
    whole, column = model_lines(text)[line], offset - model_starts(text)[line]
    return types.Position(line, units(whole[:column], encoding))


def model_offset(text: str, position: types.Position, encoding: str) -> int:
    """Return the line's first offset at or after the position, by counting units."""
    lines, starts = model_lines(text), model_starts(text)
    if position.line >= len(lines):
        return len(text)
    line = lines[position.line]
    column = next(
        (column for column in range(len(line)) if units(line[:column], encoding) >= position.character), len(line)
    )
    return starts[position.line] + column


def document(text: str | None, encoding: str = "utf-16", uri: str = "file:///project/a.py") -> OpenDocument:
    return OpenDocument(uri, text, 1, "python", position_codec=Codec(encoding))


def opened(*cells: tuple[types.NotebookCellKind, str, str], encoding: str = "utf-16") -> Documents:
    """Open a notebook with cells (kind, language, text) at addresses with ``#0``, ``#1``, ..."""
    documents = Documents("file:///work", position_encoding=encoding)
    items = [
        types.TextDocumentItem(cell_uri(index), language, 1, text) for index, (_, language, text) in enumerate(cells)
    ]
    notebook = types.NotebookDocument(
        NOTEBOOK,
        "jupyter-notebook",
        1,
        [types.NotebookCell(kind, cell_uri(index)) for index, (kind, _, _) in enumerate(cells)],
    )
    documents.put_notebook_document(types.DidOpenNotebookDocumentParams(notebook, items))
    return documents


def cell_uri(index: int) -> str:
    return f"vscode-notebook-cell:/project/a%20b/notes.ipynb#{index}"


def code(text: str, language: str = "python") -> tuple[types.NotebookCellKind, str, str]:
    return types.NotebookCellKind.Code, language, text


def prose(text: str) -> tuple[types.NotebookCellKind, str, str]:
    return types.NotebookCellKind.Markup, "markdown", text


class TestLines:
    @given(texts)
    def test_lines_end_where_the_protocol_ends_them(self, text: str) -> None:
        """Lines join to the text, and only the protocol's three line endings separate lines."""
        lines = document(text).lines
        assert "".join(lines) == text
        assert [line.rstrip("\r\n") for line in lines] == model_lines(text)

    def test_a_long_last_line_takes_no_time_to_speak_of(self) -> None:
        """Splitting reads each character a bounded number of times, even in a very long line."""
        text = "a\r\n" + "x" * 3_000_000
        assert split_lines(text) == ("a\r\n", "x" * 3_000_000)

    def test_lines_follow_an_edit(self) -> None:
        """The cached lines of a text are not used for a changed text."""
        edited = document("a\nb")
        before = edited.lines
        edited.apply_change(types.TextDocumentContentChangeWholeDocument("c"))
        assert (before, edited.lines) == (("a\n", "b"), ("c",))


class TestPositions:
    @given(texts, encodings, st.data())
    def test_offset_to_position(self, text: str, encoding: str, data: st.DataObject) -> None:
        """Every offset has the client's position, even after a final line ending."""
        offset = data.draw(st.integers(0, len(text)))
        position = document(text, encoding).client_position_at_offset(offset)
        assert position == model_position(text, offset, encoding)

    @pytest.mark.slow
    @given(texts, encodings)
    def test_there_and_back(self, text: str, encoding: str) -> None:
        """An offset converts to a position and back, except within a line ending."""
        written = document(text, encoding)
        for offset in range(len(text) + 1):
            if text[offset - 1 : offset + 1] != "\r\n":
                assert written.offset_at_position(written.client_position_at_offset(offset)) == offset

    @given(texts, encodings, st.integers(0, 8), st.integers(0, 12))
    def test_position_to_offset(self, text: str, encoding: str, line: int, character: int) -> None:
        """Positions past a line mean the line's end, past the last line the text's end."""
        position = types.Position(line, character)
        assert document(text, encoding).offset_at_position(position) == model_offset(text, position, encoding)
        assert position == types.Position(line, character)  # pygls modifies positions in place.

    def test_beyond_the_end(self) -> None:
        """Offsets and positions outside the text mean the nearest end of the text."""
        written = document("ab\ncd")
        assert written.client_position_at_offset(99) == types.Position(1, 2)
        assert written.server_position_at_offset(99) == ServerTextPosition(1, 2)
        assert written.server_position_at_offset(-1) == ServerTextPosition(0, 0)
        assert written.offset_at_server_position(ServerTextPosition(9, 0)) == 5
        assert written.position_to_client_units(ServerTextPosition(9, 0)) == types.Position(1, 2)

    @given(texts, encodings, st.data())
    def test_text_of_a_range(self, text: str, encoding: str, data: st.DataObject) -> None:
        """The text of a client's range is the text between the range's ends."""
        start, end = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        range = types.Range(model_position(text, start, encoding), model_position(text, end, encoding))
        expected = text[model_offset(text, range.start, encoding) : model_offset(text, range.end, encoding)]
        assert document(text, encoding).text_in_client_range(range) == expected


class TestEdits:
    @pytest.mark.slow
    @given(
        texts,
        encodings,
        st.lists(
            st.tuples(st.integers(0, 6), st.integers(0, 9), st.integers(0, 3), st.integers(0, 9), texts), max_size=5
        ),
    )
    def test_incremental_edits(self, text: str, encoding: str, edits: list[tuple[int, int, int, int, str]]) -> None:
        """After any edits, even at positions past the text, the document equals the client's."""
        written, expected = document(text, encoding), text
        for line, character, lines, last, new in edits:
            start, end = (
                types.Position(line, character),
                types.Position(line + lines, last if lines else character + last),
            )
            written.apply_change(types.TextDocumentContentChangePartial(types.Range(start, end), new))
            expected = (
                expected[: model_offset(expected, start, encoding)]
                + new
                + expected[model_offset(expected, end, encoding) :]
            )
            assert written.source == expected

    def test_a_range_that_ends_before_it_starts_takes_nothing_away(self) -> None:
        """A backward range inserts at the start of the range and repeats no text."""
        written = document("abcdef")
        range = types.Range(types.Position(0, 4), types.Position(0, 2))
        written.apply_change(types.TextDocumentContentChangePartial(range, "!"))
        assert written.source == "abcd!ef"


class TestFiles:
    def test_a_file_that_is_not_open_is_read_as_it_is(self, tmp_path: Path) -> None:
        """A read file keeps line endings, loses a byte order mark, and may have invalid UTF-8."""
        (tmp_path / "a.py").write_bytes(b"\xef\xbb\xbfa\r\nb\xff\n")
        assert document(None, uri=(tmp_path / "a.py").as_uri()).source == "a\r\nb\ufffd\n"

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        """The error about a missing, unopened document names the document."""
        with pytest.raises(InvalidRequestError, match=r"gone\.py is not open and cannot be read: No such file"):
            _ = document(None, uri=(tmp_path / "gone.py").as_uri()).source

    @pytest.mark.parametrize(
        ("kind", "said"), [("pipe", "is a pipe"), ("zero", "is a device"), ("large", "at most"), ("folder", "a folder")]
    )
    def test_what_is_no_file(self, tmp_path: Path, kind: str, said: str) -> None:
        """A pipe, a device, a folder and a huge file are refused in one sentence, unread."""
        path = tmp_path / "it.py"
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "zero":
                path.symlink_to("/dev/zero")
            case "large":
                with path.open("wb") as file:
                    file.truncate(40 << 30)
            case _:
                path.mkdir()
        with pytest.raises(InvalidRequestError, match=rf"it\.py .*{said}"):
            _ = document(None, uri=path.as_uri()).source

    def test_an_unknown_document_without_a_file_is_empty(self) -> None:
        """An unopened document with a URI of no file is empty."""
        assert document(None, uri="untitled:Untitled-1").source == ""


class TestInstall:
    def test_a_server_keeps_its_documents_here(self) -> None:
        """After ``initialize`` the workspace is ours, with the negotiated folders and encoding."""

        async def scenario() -> None:
            server = LanguageServer("test", "1")

            @server.feature(types.INITIALIZE)
            def initialize(params: types.InitializeParams) -> None:
                install_documents(server)

            general = types.GeneralClientCapabilities(position_encodings=[types.PositionEncodingKind.Utf8])
            folder = types.WorkspaceFolder("file:///work", "work")
            params = types.InitializeParams(
                types.ClientCapabilities(general=general), root_uri="file:///work", workspace_folders=[folder]
            )
            steps = server.protocol.lsp_initialize(params)
            handler, arguments, _ = next(steps)
            handler(*arguments)
            documents = server.workspace
            assert isinstance(documents, Documents)
            assert (documents.root_path, list(documents.folders)) == ("/work", ["file:///work"])
            documents.put_text_document(types.TextDocumentItem("file:///project/a.py", "python", 1, "\f漢x\n"))
            assert documents.get_text_document("file:///project/a.py").offset_at_position(types.Position(0, 4)) == 2

        asyncio.run(scenario())


class TestCursor:
    def test_a_cursor_in_a_file(self) -> None:
        """A cursor has the whole text before and after the position, the language and the path."""
        documents = Documents(None)
        documents.put_text_document(types.TextDocumentItem("file:///w/a%20b.py", "python", 1, "x = 😋\r\ny\f"))
        cursor = cursor_at(documents, "file:///w/a%20b.py", types.Position(0, 6))
        assert (cursor.before, cursor.after) == ("x = 😋", "\r\ny\f")
        assert (cursor.language, cursor.path) == ("python", "/w/a b.py")

    def test_an_unsaved_buffer_has_no_path(self) -> None:
        """A document without a file has no path."""
        documents = Documents(None)
        documents.put_text_document(types.TextDocumentItem("untitled:Untitled-1", "python", 1, "x"))
        assert cursor_at(documents, "untitled:Untitled-1", types.Position(0, 1)).path is None

    def test_a_cursor_in_a_code_cell(self) -> None:
        """All cells surround the cursor: code unchanged, prose as comments, empty cells omitted."""
        documents = opened(
            code("import os"), prose("# Load\n\nthe data"), code("  \n"), code("x = 1\ny = 2"), code("print(x)")
        )
        cursor = cursor_at(documents, cell_uri(3), types.Position(1, 1))
        assert cursor.before == "import os\n\n# # Load\n#\n# the data\n\nx = 1\ny"
        assert cursor.after == " = 2\n\nprint(x)"
        assert (cursor.uri, cursor.language, cursor.path) == (cell_uri(3), "python", "/project/a b/notes.ipynb")

    def test_a_cursor_in_a_cell_of_prose(self) -> None:
        """Code cells are fenced blocks between prose."""
        cursor = cursor_at(opened(code("x = 1"), prose("The "), prose("End")), cell_uri(1), types.Position(0, 4))
        assert cursor.before == "```python\nx = 1\n```\n\nThe "
        assert cursor.after == "\n\nEnd"

    def test_prose_is_left_out_where_comments_are_unknown(self) -> None:
        """Prose cells are dropped for languages with unknown comment syntax."""
        cursor = cursor_at(opened(prose("Words"), code("x", "brainfuck")), cell_uri(1), types.Position(0, 1))
        assert cursor.before == "x"

    def test_a_cell_that_was_taken_out_stands_alone(self) -> None:
        """An open cell removed from its notebook is a separate document."""
        documents = opened(code("a"), code("b"))
        array = types.NotebookCellArrayChange(1, 1)
        change = types.NotebookDocumentChangeEvent(
            cells=types.NotebookDocumentCellChanges(types.NotebookDocumentCellChangeStructure(array))
        )
        documents.update_notebook_document(
            types.DidChangeNotebookDocumentParams(types.VersionedNotebookDocumentIdentifier(2, NOTEBOOK), change)
        )
        assert cursor_at(documents, cell_uri(1), types.Position(0, 1)).before == "b"
