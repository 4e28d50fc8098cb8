"""Append-only cache of per-file figures: a resumed run skips evaluated files."""

from __future__ import annotations

import json
from collections import UserDict
from dataclasses import asdict
from pathlib import Path

from pellucid.learn.finetune.held_out_evaluation import FileFigures
from pellucid.system import atomic_files


class EvaluationCache(UserDict[tuple[str, str], FileFigures]):
    """Figures by kind and name of a file. A cache file with a different key is emptied."""

    def __init__(self, path: Path, key: str) -> None:
        super().__init__()
        self._path = path
        try:
            first, *lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError):
            first, lines = "", []  # Missing or damaged.
        if first != key:
            with atomic_files.errors_explained(path.parent):
                atomic_files.write_text(path, key)
            return
        for line in lines:
            try:
                stored = json.loads(line)
                kind, confidences, hits = (
                    stored.pop("kind"),
                    tuple(stored.pop("confidences")),
                    tuple(stored.pop("hits")),
                )
                self.data[kind, stored["name"]] = FileFigures(**stored, confidences=confidences, hits=hits)
            except (ValueError, KeyError, TypeError):
                continue  # Truncated line.

    def __setitem__(self, place: tuple[str, str], figures: FileFigures) -> None:
        super().__setitem__(place, figures)
        with atomic_files.errors_explained(self._path.parent), self._path.open("a", encoding="utf-8") as file:
            # The last line may be truncated, so each entry starts with a line break.
            file.write("\n" + json.dumps({"kind": place[0], **asdict(figures)}))
