"""The open documents: text, positions, and the cells of notebooks."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from urllib.parse import unquote

from lsprotocol import types
from pygls.lsp.server import LanguageServer
from pygls.workspace import PositionCodec, TextDocument, Workspace
from pygls.workspace.position_codec import ServerTextPosition

from pellucid.completion.context.uris import file_path
from pellucid.completion.document_cursor import DocumentCursor, normalize_newlines
from pellucid.errors import InvalidRequestError
from pellucid.system.regular_files import read_bytes

BETWEEN_CELLS = "\n\n"
"""The separator of notebook cells in a joined text."""

COMMENT_MARKS = (
    ("#", "bash julia perl powershell python r ruby shellscript"),
    ("//", "c cpp csharp fsharp go java javascript kotlin php rust scala swift typescript"),
    ("--", "haskell lua sql"),
)
COMMENT_OF = {language: mark for mark, languages in COMMENT_MARKS for language in languages.split()}
"""The start of a comment line, by language, for the languages of notebooks."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


class Codec(PositionCodec):
    """A position codec that follows the specification.

    A position past the end of a line or document means the end. A position inside a character,
    between two code units, means the position after the character.
    """

    def position_from_client_units(self, lines: Sequence[str], position: types.Position) -> ServerTextPosition:
        if position.line >= len(lines):
            return ServerTextPosition(len(lines) - 1, len(lines[-1]))
        line = lines[position.line].rstrip("\r\n")
        return ServerTextPosition(position.line, self._characters(line, position.character))

    def position_to_client_units(
        self, lines: Sequence[str], position: ServerTextPosition | types.Position
    ) -> types.Position:
        if position.line >= len(lines):
            return types.Position(len(lines) - 1, self.impl.num_units(lines[-1]))
        line = lines[position.line].rstrip("\r\n")
        return types.Position(position.line, self.impl.num_units(line[: position.character]))

    def _characters(self, line: str, units: int) -> int:
        if line.isascii():
            return min(units, len(line))
        counted = 0
        for index, character in enumerate(line):
            if counted >= units:
                return index
            counted += self.impl.code_units_for_char(character)
        return len(line)


class OpenDocument(TextDocument):
    r"""A document with line endings ``\n``, ``\r\n`` and ``\r`` only, as in the protocol.

    Python's ``splitlines`` also splits at form feeds and about ten more characters, which clients
    do not count. The last line has no line ending, and is empty after a final line ending.
    """

    _split: tuple[str, tuple[str, ...], tuple[int, ...]] | None = None

    @property
    def source(self) -> str:
        """The client's text, or else the text of the file.

        Raise InvalidRequestError if the document is neither open nor readable.
        """
        if self._source is not None:
            return self._source
        if (path := file_path(self.uri)) is None:
            return ""
        try:
            return read_bytes(path).decode("utf-8-sig", errors="replace")
        except FileNotFoundError as error:
            raise InvalidRequestError(
                f"{path} is not open and cannot be read: {error.strerror}.", param="textDocument"
            ) from None
        except InvalidRequestError as error:
            raise InvalidRequestError(str(error), param="textDocument") from None

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines with line endings."""
        return self._split_lines()[1]

    def offset_at_server_position(self, server_position: ServerTextPosition) -> int:
        _, lines, starts = self._split_lines()
        if server_position.line >= len(lines):
            return starts[-1] + len(lines[-1])
        return starts[server_position.line] + min(server_position.character, len(lines[server_position.line]))

    def server_position_at_offset(self, offset: int) -> ServerTextPosition:
        _, lines, starts = self._split_lines()
        offset = max(0, min(offset, starts[-1] + len(lines[-1])))
        line = bisect_right(starts, offset) - 1
        return ServerTextPosition(line, offset - starts[line])

    def _split_lines(self) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
        source = self.source
        if self._split is None or self._split[0] is not source:
            lines = split_lines(source)
            starts = (0, *accumulate(map(len, lines[:-1])))
            self._split = source, lines, starts
        return self._split

    def _apply_incremental_change(self, change: types.TextDocumentContentChangePartial) -> None:
        source = self.source
        start, end = self.offset_at_position(change.range.start), self.offset_at_position(change.range.end)
        self._source = source[:start] + change.text + source[max(start, end) :]


class Documents(Workspace):
    def __init__(
        self,
        root_uri: str | None,
        sync_kind: types.TextDocumentSyncKind = types.TextDocumentSyncKind.Incremental,
        workspace_folders: Sequence[types.WorkspaceFolder] | None = None,
        position_encoding: types.PositionEncodingKind | str | None = types.PositionEncodingKind.Utf16,
    ) -> None:
        super().__init__(root_uri, sync_kind, workspace_folders, position_encoding)
        self._position_codec = Codec(position_encoding)
        self.adds_carriage_returns = False
        """Whether the client adds carriage returns when writing a file, as Neovim does.

        Inline completion would then insert carriage returns as characters.
        """

    @property
    def folder_paths(self) -> list[Path]:
        uris = [folder.uri for folder in self.folders.values()] or [self.root_uri or ""]
        return [path for uri in uris if uri and (path := file_path(uri))]

    def text(self, uri: str) -> str:
        r"""Return the text of a document, with ``\n`` as the line ending."""
        return normalize_newlines(self.get_text_document(uri).source)

    def line_end(self, uri: str) -> str:
        """Return the line ending for inserted text: the document's, unless the client adds it."""
        is_long = not self.adds_carriage_returns and "\r\n" in self.get_text_document(uri).source
        return "\r\n" if is_long else "\n"

    def is_cell(self, uri: str) -> bool:
        return self.get_notebook_document(cell_uri=uri) is not None

    def cursor(
        self, uri: str, position: types.Position, selected: types.SelectedCompletionInfo | None = None
    ) -> DocumentCursor:
        r"""Return the cursor at a position, as if the selected menu item had been accepted.

        The line ending of the text is ``\n``.
        """
        cursor = cursor_at(self, uri, position)
        line, character = position.line, position.character
        if selected is not None:
            start = selected.range.start
            kept, after = cursor_at(self, uri, start).before, cursor_at(self, uri, selected.range.end).after
            text = cursor.before + cursor.after
            replaced = text[len(kept) : len(text) - len(after)]
            cursor = replace(
                cursor, before=kept + selected.text, after=after, selected=selected.text, replaced=replaced
            )
            line, character = start.line, start.character + self.position_codec.client_num_units(selected.text)
        before, after = normalize_newlines(cursor.before), normalize_newlines(cursor.after)
        return replace(cursor, before=before, after=after, position=(line, character))

    def _create_text_document(
        self, doc_uri: str, source: str | None = None, version: int | None = None, language_id: str | None = None
    ) -> OpenDocument:
        return OpenDocument(
            doc_uri, source, version, language_id, sync_kind=self._sync_kind, position_codec=self._position_codec
        )


def install_documents(server: LanguageServer) -> Documents:
    """Make a server use ``Documents``; call this first in the handler of ``initialize``.

    pygls creates its own workspace just before, and offers no choice of the class.
    """
    made = server.protocol.workspace
    documents = Documents(made.root_uri, made._sync_kind, tuple(made.folders.values()), made.position_encoding)
    server.protocol._workspace = documents
    return documents


def cursor_at(documents: Workspace, uri: str, position: types.Position) -> DocumentCursor:
    """Return the cursor at a client's position; the text includes all cells of a notebook."""
    document = documents.get_text_document(uri)
    source, offset = document.source, document.offset_at_position(position)
    before, after, file = source[:offset], source[offset:], uri
    if notebook := documents.get_notebook_document(cell_uri=uri):
        above, below = _other_cells(documents, notebook, document)
        before, after, file = BETWEEN_CELLS.join((*above, before)), BETWEEN_CELLS.join((after, *below)), notebook.uri
    path = file_path(file)
    name = None if path is None else str(path)
    return DocumentCursor(uri, before, after, document.language_id or "", name, (position.line, position.character))


def split_lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text with line endings; the last line has no line ending."""
    if "\r" not in text:  # Much faster, and the usual case.
        *whole, last = text.split("\n")
        return (*[line + "\n" for line in whole], last)
    lines = _LINE.findall(text)
    return (*lines, "") if not lines or lines[-1].endswith(("\r", "\n")) else tuple(lines)


def _other_cells(
    documents: Workspace, notebook: types.NotebookDocument, current: TextDocument
) -> tuple[list[str], list[str]]:
    """Return the texts of the cells above and below, for the current cell's language."""
    at = next(
        (index for index, cell in enumerate(notebook.cells) if unquote(cell.document) == unquote(current.uri)), None
    )
    if at is None:  # Removed from the notebook but not closed yet.
        return [], []
    in_prose = notebook.cells[at].kind == types.NotebookCellKind.Markup

    def texts(cells: Sequence[types.NotebookCell]) -> list[str]:
        open_cells = ((cell, documents.text_documents.get(unquote(cell.document))) for cell in cells)
        converted = (
            _convert_cell(current, in_prose, document, cell.kind)
            for cell, document in open_cells
            if document is not None
        )
        return [text for text in converted if text.strip()]

    return texts(notebook.cells[:at]), texts(notebook.cells[at + 1 :])


def _convert_cell(current: TextDocument, in_prose: bool, cell: TextDocument, kind: types.NotebookCellKind | int) -> str:
    """Return a cell's text: prose as comments for code, code as a fenced block for prose.

    Return "" for a language without a known comment mark.
    """
    if not cell.source.strip() or in_prose == (kind == types.NotebookCellKind.Markup):
        return cell.source
    if in_prose:
        return f"```{cell.language_id or ''}\n{cell.source}\n```"
    mark = COMMENT_OF.get(current.language_id or "")
    return "" if mark is None else "\n".join(f"{mark} {line}".rstrip() for line in cell.source.splitlines())
