"""Reads benchmark files from a folder. Nothing is downloaded."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pellucid.errors import InvalidRequestError
from pellucid.system.atomic_files import human
from pellucid.system.regular_files import read_bytes

LARGEST_BYTES = 256 << 20
"""Published benchmarks have up to 100 MB."""

T = TypeVar("T")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BenchmarkSource:
    """``names`` are in order of preference."""

    names: tuple[str, ...]
    origin: str

    def find(self, folder: Path | None) -> Path:
        wanted = self.names[0]
        if folder is None:
            raise InvalidRequestError(
                f"{wanted} is needed ({self.origin}): name the folder that contains it with --data."
            )
        found = next((folder / name for name in self.names if (folder / name).is_file()), None)
        if found is None:
            raise InvalidRequestError(
                f"There is no {' or '.join(self.names)} in {folder}: download it from {self.origin}."
            )
        return found


HUMANEVAL = BenchmarkSource(("HumanEval.jsonl.gz", "HumanEval.jsonl"), "github.com/openai/human-eval, data/, MIT")
SINGLE_LINES = BenchmarkSource(
    (
        "HumanEval-SingleLineInfilling.jsonl.gz",
        "HumanEval-SingleLineInfilling-dev.jsonl.gz",
        "HumanEval-SingleLineInfilling.jsonl",
    ),
    "github.com/openai/human-eval-infilling, data/, MIT",
)
TRUTHFULQA = BenchmarkSource(
    ("truthfulqa_mc_task.json", "mc_task.json"), "github.com/sylinrl/TruthfulQA, data/mc_task.json, Apache-2.0"
)
CROWS_PAIRS = BenchmarkSource(("crows_pairs_anonymized.csv",), "github.com/nyu-mll/crows-pairs, data/, CC BY-SA 4.0")
WINOGENDER = BenchmarkSource(
    ("winogender_all_sentences.tsv", "all_sentences.tsv"),
    "github.com/rudinger/winogender-schemas, data/all_sentences.tsv, MIT",
)


def json_lines(path: Path, fields: Sequence[str]) -> list[Json]:
    """Read JSON lines, gzipped or not, with the text ``fields``, or raise InvalidRequestError."""
    records = []
    # Unlike split, splitlines would also split at characters inside JSON strings.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            raise InvalidRequestError(
                f"Line {number} of {path} is not JSON: the file is damaged, download it again."
            ) from None
        records.append(_checked(record, fields, f"Line {number} of {path}"))
    if not records:
        raise InvalidRequestError(f"{path} is empty: download it again.")
    return records


def json_array(path: Path, fields: Mapping[str, type]) -> list[Json]:
    """Read a JSON array of objects with ``fields``, or raise InvalidRequestError."""
    try:
        records = json.loads(_text(path))
    except ValueError:
        raise InvalidRequestError(f"{path} is not JSON: the file is damaged, download it again.") from None
    if not isinstance(records, list) or not records:
        raise InvalidRequestError(f"{path} should contain an array of records: download it again.")
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict) or any(not isinstance(record.get(name), kind) for name, kind in fields.items()):
            wanted = ", ".join(fields)
            raise InvalidRequestError(
                f"Record {number} of {path} lacks the fields {wanted}: the file is damaged, download it again."
            )
    return records


def rows(path: Path, fields: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
    """Read a table with a header and non-empty ``fields``, or raise InvalidRequestError."""
    found = list(csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter))
    for number, row in enumerate(found, 2):
        missing = [name for name in fields if not row.get(name)]
        if missing:
            raise InvalidRequestError(
                f"Line {number} of {path} has no {missing[0]}: the file is damaged, download it again."
            )
    if not found:
        raise InvalidRequestError(f"{path} is empty: download it again.")
    return found


def drawn(items: Sequence[T], limit: int | None) -> list[T]:
    """Return the first ``limit`` items of a fixed random order; a larger limit adds items."""
    order = list(items)
    random.Random(0).shuffle(order)  # noqa: S311 - no secret is drawn
    return order[:limit]


def _checked(record: Any, fields: Sequence[str], where: str) -> Json:
    missing = [name for name in fields if not isinstance(record, dict) or not isinstance(record.get(name), str)]
    if missing:
        raise InvalidRequestError(
            f"{where} has no text {missing[0]!r}, so the file is damaged or belongs to another benchmark: "
            "download it again."
        )
    checked: Json = record
    return checked


def _text(path: Path) -> str:
    try:
        content = read_bytes(path, LARGEST_BYTES)
        if path.suffix == ".gz":
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                # A small file can contain any amount of text.
                content = packed.read(LARGEST_BYTES + 1)
        if len(content) > LARGEST_BYTES:
            raise InvalidRequestError(f"{path} has more than {human(LARGEST_BYTES)} of text: name a smaller file.")
        return content.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidRequestError(
            f"{path} cannot be read ({reason}): the file is damaged, download it again."
        ) from None


def fingerprint(path: Path) -> str:
    return f"{path.name} {hashlib.sha256(read_bytes(path, LARGEST_BYTES)).hexdigest()[:16]}"
