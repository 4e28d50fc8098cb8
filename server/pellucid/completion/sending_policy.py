"""The documents that may be sent to the model, and the names of documents there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pellucid.code.language_syntax import find_syntax
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.uris import file_path
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.off_switch import Switch
from pellucid.errors import InvalidRequestError


@dataclass(frozen=True, slots=True)
class SendingPolicy:
    """The policy of an editor: the switch, the private files, and the switched-off languages.

    A refusal is a sentence with the reason for not sending a document.
    """

    switch: Switch
    privacy: Privacy
    folders: tuple[Path, ...]
    languages_off: tuple[str, ...]

    def may_send(self, uri: str, text: str) -> bool:
        return self.switch.is_on and self.privacy.permits(uri, text)

    def refusal(self, cursor: DocumentCursor) -> str | None:
        if not self.switch.is_on:
            return self.switch.why_off
        return self.privacy.refusal(cursor.path, cursor.before + cursor.after, cursor.uri)

    def suggestion_refusal(self, cursor: DocumentCursor) -> str | None:
        if cursor.language in self.languages_off:
            return f"The setting pellucid.completion.languagesOff contains {cursor.language}."
        return self.refusal(cursor)

    def search_refusal(self, cursor: DocumentCursor) -> str | None:
        if find_syntax(cursor.language).prose:
            return f"{cursor.language} is not code, so it is not searched."
        return self.suggestion_refusal(cursor)

    def require_on(self) -> None:
        if not self.switch.is_on:
            raise InvalidRequestError(self.switch.why_off)

    def require_sendable(self, cursor: DocumentCursor) -> None:
        refusal = self.refusal(cursor)
        if refusal is not None:
            raise InvalidRequestError(refusal, param="textDocument")

    def filename(self, uri: str) -> str:
        """Return the name shown to the model: the path relative to the workspace folder."""
        path = file_path(uri) or Path(uri.rpartition("/")[2])
        folder = next((folder for folder in self.folders if path.is_relative_to(folder)), None)
        return path.name if folder is None else path.relative_to(folder).as_posix()
