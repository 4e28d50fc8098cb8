"""Walk through a folder's files, without hidden, ignored, linked and third-party files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pellucid.completion.context.ignore_files import FolderRules

DEPENDENCIES = frozenset({"node_modules", "__pycache__", "venv"})
"""Never walked, even if not ignored."""


@dataclass(slots=True)
class Walk:
    """A walk through the ``wanted`` files of a folder.

    Ignore files in and below ``top`` count. ``may_continue`` is asked before each name. The folder
    ``without`` is left out. ``names`` counts the visited names.
    """

    folder: Path
    top: Path
    wanted: Callable[[str], bool] = lambda name: True
    may_continue: Callable[[], bool] = lambda: True
    without: Path | None = None
    names: int = 0
    unwanted: int = 0
    ignored_files: int = 0
    ignored_folders: int = 0
    is_cut: bool = False

    def files(self) -> Iterator[os.DirEntry[str]]:
        """Yield the files in order, a folder's files before its subfolders.

        Ignored folders are not read, because they may be large.
        """
        without = None if self.without is None else os.path.realpath(self.without)
        waiting: list[tuple[str, Callable[[], FolderRules]]] = [
            (str(self.folder), partial(FolderRules.at, self.folder, self.top))
        ]
        while waiting and self._continues():
            here, rules_here = waiting.pop()
            rules = rules_here()
            files, folders = self._listed(here)
            inner: list[tuple[str, Callable[[], FolderRules]]] = []
            for entry in folders:
                if entry.name in DEPENDENCIES or (without is not None and os.path.realpath(entry.path) == without):
                    continue
                if rules.ignoring(entry.name, folder=True):
                    self.ignored_folders += 1
                else:
                    inner.append((entry.path, partial(rules.below, entry.name)))
            for entry in files:
                if not self._continues():
                    return
                if not self.wanted(entry.name):
                    self.unwanted += 1
                elif rules.ignoring(entry.name, folder=False):
                    self.ignored_files += 1
                else:
                    yield entry
            waiting += reversed(inner)

    def _listed(self, folder: str) -> tuple[list[os.DirEntry[str]], list[os.DirEntry[str]]]:
        files: list[os.DirEntry[str]] = []
        folders: list[os.DirEntry[str]] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not self._continues():
                        break
                    self.names += 1
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry)
                    elif entry.is_file(follow_symlinks=False):
                        files.append(entry)
        except OSError:
            return [], []
        return sorted(files, key=_name), sorted(folders, key=_name)

    def _continues(self) -> bool:
        self.is_cut = self.is_cut or not self.may_continue()
        return not self.is_cut


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name
