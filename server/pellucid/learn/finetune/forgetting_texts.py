"""Texts unrelated to the repository, to measure how much a model forgets by tuning.

Every Python installation contains the texts: the documentation (English prose) and modules of the
standard library, both under the PSF licence.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import Document
from pellucid.learn.evaluate.benchmark_files import json_lines

Kind = Literal["prose", "code", "problems"]

PASSAGE_CHARACTERS = 1_500

INFILLING = "*SingleLineInfilling*.jsonl*"

_TOPICS: tuple[str, ...] = ("atom-identifiers", "class", "exceptions", "for", "import", "naming", "try", "with")
_MODULES: tuple[str, ...] = ("calendar", "csv", "fnmatch", "heapq", "queue", "shlex", "textwrap", "wave")
_PROBLEMS = 12


def general_texts(data: Path | None) -> dict[Kind, list[Document]]:
    """Return documents by kind. ``data`` is a folder with HumanEval infilling problems, if any."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    prose = [Document(name, topics[name][:PASSAGE_CHARACTERS]) for name in _TOPICS if name in topics]
    texts: dict[Kind, list[Document]] = {"prose": prose, "code": _code()}
    return texts if data is None else texts | {"problems": _problems(data)}


def _code() -> list[Document]:
    found = []
    for name in _MODULES:
        spec = find_spec(name)
        path = Path(spec.origin) if spec is not None and spec.origin is not None else None
        # Some installations have compiled modules only.
        if path is not None and path.suffix == ".py" and path.is_file():
            found.append(Document(f"{name}.py", path.read_text(encoding="utf-8")[:PASSAGE_CHARACTERS]))
    return found


def _problems(folder: Path) -> list[Document]:
    path = next(iter(sorted(folder.glob(INFILLING))), None)
    if path is None:
        raise InvalidRequestError(
            f"{folder} has no file {INFILLING} of HumanEval's infilling problems: name the folder that contains it."
        )
    rows = json_lines(path, ("task_id", "prompt", "canonical_solution", "suffix"))
    programs = {
        row["task_id"].rsplit("/", 1)[0]: row["prompt"] + row["canonical_solution"] + row["suffix"] for row in rows
    }
    documents = [Document(name, program) for name, program in sorted(programs.items())]
    return documents[:: max(1, len(documents) // _PROBLEMS)][:_PROBLEMS]
