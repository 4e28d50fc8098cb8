"""Blind reviews in JSON files: pairs of answers, and people's verdicts.

A hash of review, pair and rater determines the left side, which is stable and reveals nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid.system.atomic_files import written_whole
from pellucid.system.private_files import create_private, make_private, make_private_folder
from pellucid.vocabulary.query import SamplingParams

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}(?<! )")

REVIEWS = "reviews"

PAIRS, JUDGEMENTS = ".json", ".judgements.jsonl"

REASONS = ("more correct", "more complete", "clearer", "shorter", "better style")


class Verdict(StrEnum):
    A = "a"
    B = "b"
    BOTH = "both"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class AnswerPair:
    prompt: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Review:
    """Pairs of answers to judge; ``a`` and ``b`` describe models and settings."""

    name: str
    a: str
    b: str
    pairs: tuple[AnswerPair, ...]

    def is_a_left(self, pair: int, rater: str) -> bool:
        """Return whether this rater sees ``a`` on the left."""
        digest = hashlib.sha256(json.dumps([self.name, pair, rater]).encode()).digest()
        return digest[0] % 2 == 0


@dataclass(frozen=True, slots=True)
class Judgement:
    pair: int
    rater: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    note: str = ""
    time: float = 0.0


def side(model: str, params: SamplingParams, system: str = "") -> str:
    """Describe a side of a review: the model and what of its settings is not the default."""
    parts = [model, f"temperature {params.temperature:g}" if params.temperature else "greedy"]
    if params.temperature:
        chosen = (("top-p", params.top_p, 1), ("top-k", params.top_k, 0), ("min-p", params.min_p, 0))
        parts += [f"{name} {value:g}" for name, value, off in chosen if value != off]
        parts += [] if params.seed is None else [f"seed {params.seed}"]
    return ", ".join([*parts, f"system prompt {system!r}"] if system else parts)


_REVIEW, _JUDGEMENT = TypeAdapter(Review), TypeAdapter(Judgement)


class Reviews:
    """The reviews in a folder, which is created with the first review."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._creating = threading.Lock()

    def names(self) -> list[str]:
        return sorted(path.name.removesuffix(PAIRS) for path in self._folder.glob(f"*{PAIRS}"))

    def check_free(self, name: str) -> None:
        if self._path(name, PAIRS).exists():
            raise InvalidRequestError(f"A review named {name!r} exists already: choose another name.")

    def create(self, review: Review) -> None:
        """Save a new review."""
        with self._creating:
            self.check_free(review.name)
            path = self._path(review.name, PAIRS)
            if not review.pairs:
                raise InvalidRequestError("The review has no prompts: give at least one.")
            try:
                make_private_folder(self._folder)
                with written_whole(path) as part, create_private(part) as file:
                    file.write(json.dumps(asdict(review), ensure_ascii=False, indent=1).encode())
            except OSError as error:
                raise _unwritable(path, error) from error

    def find(self, name: str) -> Review:
        """Return a review.

        Raises NotFoundError, and PellucidError for a damaged file.
        """
        path = self._path(name, PAIRS)
        try:
            return _REVIEW.validate_json(path.read_bytes())
        except FileNotFoundError:
            existing = ", ".join(self.names()) or "none yet"
            raise NotFoundError(f"There is no review named {name!r}. Existing reviews: {existing}.") from None
        except (ValidationError, OSError) as error:
            raise PellucidError(
                f"{path} is damaged ({_reason(error)}): restore it, or delete it and create the review again."
            ) from None

    def judgements(self, name: str) -> list[Judgement]:
        path = self._path(name, JUDGEMENTS)
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            # A process may have died while writing a line.
            found = [_JUDGEMENT.validate_json(line) for line in lines if line.endswith(b"}")]
        except (ValidationError, OSError) as error:
            raise PellucidError(f"{path} is damaged ({_reason(error)}): repair the line, or delete it.") from None
        last = {(one.pair, one.rater): one for one in found}
        return [last[key] for key in sorted(last)]

    def judge(self, name: str, judgement: Judgement) -> None:
        """Save a judgement on disk, replacing the rater's earlier judgement."""
        if not 0 <= judgement.pair < len(self.find(name).pairs):
            raise InvalidRequestError(f"The review {name!r} has no pair {judgement.pair + 1}: reload the page.")
        record: dict[str, Any] = asdict(judgement) | {"time": self._clock()}
        path = self._path(name, JUDGEMENTS)
        try:
            make_private(path)
            with path.open("ab", buffering=0) as file:
                # Always begin a new line: a process may have died in the middle of a line.
                end = file.tell()
                line = (b"\n" if end else b"") + json.dumps(record, ensure_ascii=False).encode()
                try:
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)  # Half a line, left by a full disk, would be reported as damage.
                    raise
        except OSError as error:
            raise _unwritable(path, error) from error

    def _path(self, name: str, ending: str) -> Path:
        if not NAME.fullmatch(name):
            raise InvalidRequestError(
                f"{name!r} is not a valid name for a review: "
                "use up to 64 letters, digits, spaces, dots, hyphens and underscores."
            )
        return self._folder / f"{name}{ending}"


def next_pair(review: Review, judgements: Sequence[Judgement], rater: str) -> int | None:
    judged = {one.pair for one in judgements if one.rater == rater}
    return next((pair for pair in range(len(review.pairs)) if pair not in judged), None)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return str(error)


def _unwritable(path: Path, error: OSError) -> PellucidError:
    return PellucidError(
        f"{path} cannot be written ({error.strerror}): free some disk space, or make the folder writable."
    )
