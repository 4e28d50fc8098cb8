"""Walks a folder's files: not those that are hidden, ignored, reached by a link, or that other people's packages consist of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pellucid.completion.context.ignore_files import ignoring_file, repository

DEPENDENCIES = frozenset({"node_modules", "__pycache__", "venv"})
"""Names of folders that are never walked, even if nothing ignores them."""


def walked_folders(here: Path, names: Sequence[str], top: Path) -> tuple[list[str], int]:
    """Return the names of the subfolders to walk, in order, and the number of those that ignore files keep out.

    ``top`` is the folder whose ignore files, and those below it, count. Ignored folders are not walked, because they may be large.
    """
    open_folders = [name for name in sorted(names) if not (name.startswith(".") or name in DEPENDENCIES or is_link(here / name))]
    walked = [name for name in open_folders if not ignoring_file(here / name / "any file", top)]
    return walked, len(open_folders) - len(walked)


def files_below(folder: Path, wanted: Callable[[str], bool], *, may_continue: Callable[[], bool] = lambda: True) -> Iterator[Path]:
    """Yield the files of a folder whose names are wanted, in order. ``may_continue`` is asked before each of its folders."""
    top = repository(folder) or folder
    waiting = [folder]
    while waiting and may_continue():
        here = waiting.pop()
        folders, files = _listed(here)
        walked, _ = walked_folders(here, folders, top)
        waiting += [here / name for name in reversed(walked)]
        for name in sorted(files):
            path = here / name
            if wanted(name) and not name.startswith(".") and not is_link(path) and not ignoring_file(path, top):
                yield path


def is_link(path: Path) -> bool:
    """Return whether a path is a link; unlike ``Path.is_symlink``, also if it cannot be looked at."""
    return os.path.islink(path)  # noqa: PTH114


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the folders and of the files in a folder; none if it cannot be read."""
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                (folders if entry.is_dir(follow_symlinks=False) else files).append(entry.name)
    except OSError:
        return [], []
    return folders, files
