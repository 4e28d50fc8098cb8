"""Outlines of definitions: read from the workspace's files, or described by the editor."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.code.definition_outline import outline
from pellucid.code.language_syntax import find_syntax
from pellucid.completion.context import uris
from pellucid.completion.context.definitions import Definition
from pellucid.completion.context.permitted_files import is_code, is_inside, read_text
from pellucid.completion.context.privacy import MAX_CHARACTERS
from pellucid.completion.context.workspace_walk import DEPENDENCIES

MAX_DESCRIPTION = 400
"""Maximum characters of an editor's description of a definition."""

_FENCED = re.compile(r"^(?P<fence>`{3,}|~{3,})[^\n]*\n(?P<code>.*?)^(?P=fence)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class FoundDefinition:
    """The place of a name's definition, as an editor's language server found it.

    ``text``: the text of an open document. ``description``: the hover text in Markdown, for places
    outside of the workspace.
    """

    name: str
    uri: str
    line: int
    column: int
    text: str | None = None
    description: str = ""


class DefinitionReader:
    """Reads definitions of some folders; ``may_send(uri, text)`` is asked for each text.

    Of a file outside of the folders, or of dependencies, only the editor's description is used.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        may_send: Callable[[str, str], bool],
        filename: Callable[[str], str],
        most_characters: int,
    ) -> None:
        self._folders = tuple(folders)
        self._may_send = may_send
        self._filename = filename
        self._most = most_characters
        self._texts: dict[str, str] = {}

    def read(self, found: FoundDefinition) -> Definition | None:
        """Return a definition, or None if the file must not be read or sent."""
        if self._is_own(found.uri):
            text = self._text(found)
            # The definition of a module is the beginning of its file.
            line = -1 if found.line == found.column == 0 and not text.startswith(found.name) else found.line
            syntax = find_syntax(Path(uris.read(found.uri).path).suffix.removeprefix("."))
            made = outline(text.split("\n"), line, syntax, self._most) if text else ""
        else:
            line, made = found.line, description(found.description)
            if not made or not self._may_send(found.uri, made):
                return None
        return Definition(found.uri, self._filename(found.uri), line, made) if made else None

    def _is_own(self, uri: str) -> bool:
        path = uris.file_path(uri)
        if path is None or not is_inside(path, self._folders):
            return False
        folder = next((one for one in self._folders if path.is_relative_to(one)), None)
        parts = path.parts if folder is None else path.relative_to(folder).parts
        return not any(part in DEPENDENCIES or part.startswith(".") for part in parts)

    def _text(self, found: FoundDefinition) -> str:
        if found.text is not None:
            return found.text if self._may_send(found.uri, found.text) else ""
        path = uris.file_path(found.uri)
        if path is None or not is_code(path.name):
            return ""
        if found.uri not in self._texts:
            self._texts[found.uri] = read_text(path, self._folders, self._may_send, MAX_CHARACTERS)
        return self._texts[found.uri]


def description(markdown: str) -> str:
    """Return the first code block of a hover text, or else its first line."""
    block = _FENCED.search(markdown)
    text = markdown.strip().partition("\n")[0] if block is None else block["code"]
    return text.strip()[:MAX_DESCRIPTION] + "\n" if text.strip() else ""
