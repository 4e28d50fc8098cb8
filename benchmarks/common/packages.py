"""Draws cursors in the packages of a folder, with equal numbers for each language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.completion.document_cursor import normalize_newlines
from pellucid.learn.calibrate.cursors import SUFFIXES, ReplayCursor, draw
from pellucid.learn.corpus import LARGEST_SOURCE_BYTES, Corpus, Document, gather
from pellucid.learn.duplicates import without_near_duplicates

LARGEST_FILE = 200_000
"""Maximum characters of a file: larger files are tables and generated code."""

BYTES_PER_CURSOR = 300
"""Minimum bytes of a package for each cursor, so that small packages are not replayed line by line.
"""


@dataclass(frozen=True)
class Packages:
    """The texts of a folder's packages by name (language/package/file), and the cursors."""

    texts: Mapping[str, str]
    cursors: Sequence[ReplayCursor]

    @property
    def names(self) -> list[str]:
        """The packages, as language/package."""
        return sorted({"/".join(cursor.document.split("/")[:2]) for cursor in self.cursors})


ROOT = Path(__file__).parents[2]

OWN = {
    "c": ["server/pellucid/engine/native"],
    "javascript": ["webui/pellucid_webui/assets"],
    "lua": ["editors/nvim/lua"],
    "python": ["server/pellucid", "lsp/pellucid_lsp", "webui/pellucid_webui"],
    "typescript": ["editors/vscode/src"],
}
"""This project's code, by language: available, and newer than the models."""


def own_packages() -> dict[str, list[Path]]:
    return {language: [ROOT / folder for folder in folders] for language, folders in OWN.items()}


def packages_in(folder: Path) -> dict[str, list[Path]]:
    """Return the packages in a folder with a subfolder for each language and each package."""
    return {language.name: folders_in(language) for language in folders_in(folder)}


def draw_packages(packages: Mapping[str, Sequence[Path]], count: int) -> Packages:
    """Return ``count`` cursors for each language, without nearly equal files."""
    texts: dict[str, str] = {}
    cursors: list[ReplayCursor] = []
    for language, folders in packages.items():
        documents = {package.name: documents_of(language, package) for package in folders}
        distinct = without_near_duplicates(Corpus(tuple(one for many in documents.values() for one in many))).documents
        kept = {document.name for document in distinct}
        drawn: list[ReplayCursor] = []
        by_size = sorted(documents.values(), key=lambda many: sum(document.size for document in many))
        for number, many in enumerate(by_size):
            own = [document for document in many if document.name in kept]
            fair = (count - len(drawn)) // (len(by_size) - number)
            drawn += draw(own, min(fair, sum(document.size for document in own) // BYTES_PER_CURSOR))
            texts |= {document.name: normalize_newlines(document.text) for document in own}
        cursors += drawn
    return Packages(texts, cursors)


def folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def documents_of(language: str, package: Path) -> list[Document]:
    found = gather([package], suffixes=SUFFIXES, largest=LARGEST_SOURCE_BYTES).documents
    return [
        Document(f"{language}/{package.name}/{one.name}", one.text) for one in found if len(one.text) < LARGEST_FILE
    ]
