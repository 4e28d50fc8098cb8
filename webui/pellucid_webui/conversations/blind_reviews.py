"""Blind comparisons of answers by people: the pairs to be judged and what was found of each, in files of JSON.

Which answer stands left is drawn from the review, the pair and the rater: it stays the same on reloading, and tells nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid.system.private_files import create_private, make_private, make_private_folder

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

REVIEWS = "reviews"
"""Their folder in the one of the conversations."""

PAIRS, JUDGEMENTS = ".json", ".judgements.jsonl"

REASONS = ("more correct", "more complete", "clearer", "shorter", "better style")
"""What may make an answer the better one."""


class Verdict(StrEnum):
    """What somebody finds of two answers."""

    A = "a"
    B = "b"
    BOTH = "both"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """A prompt and its two answers."""

    prompt: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Review:
    """What is to be judged: ``a`` and ``b`` say what gave the answers, a model and its settings."""

    name: str
    a: str
    b: str
    pairs: tuple[AnswerPair, ...]

    def is_a_left(self, pair: int, rater: str) -> bool:
        """Whether the answer of ``a`` stands left for this rater."""
        drawn = hashlib.sha256(json.dumps([self.name, pair, rater]).encode()).digest()
        return drawn[0] % 2 == 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rater has found of a pair, and when (seconds since 1970)."""

    pair: int
    rater: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    note: str = ""
    time: float = 0.0


_REVIEW, _JUDGEMENT = TypeAdapter(Review), TypeAdapter(Judgement)


class Reviews:
    """The reviews in a folder, which is made with the first of them."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def names(self) -> list[str]:
        """Their names, in order."""
        return sorted(path.name.removesuffix(PAIRS) for path in self._folder.glob(f"*{PAIRS}"))

    def check_free(self, name: str) -> None:
        """Raise InvalidRequestError for a name that is none or taken."""
        if self._path(name, PAIRS).exists():
            raise InvalidRequestError(f"There is a review {name!r} already: choose another name.")

    def create(self, review: Review) -> None:
        """Keep a new review. Raises InvalidRequestError for a name that is none or taken, PellucidError where it cannot be written."""
        self.check_free(review.name)
        path = self._path(review.name, PAIRS)
        if not review.pairs:
            raise InvalidRequestError("There is nothing to compare: give at least one prompt.")
        part = path.with_name(path.name + ".part")
        try:
            make_private_folder(self._folder)
            with create_private(part) as file:
                file.write(json.dumps(asdict(review), ensure_ascii=False, indent=1).encode())
            part.replace(path)
        except OSError as error:
            with suppress(OSError):  # of a disk that has become read-only
                part.unlink(missing_ok=True)
            raise _unwritable(path, error) from error

    def find(self, name: str) -> Review:
        """A review. Raises NotFoundError with the names that there are, and PellucidError for a damaged file."""
        path = self._path(name, PAIRS)
        try:
            return _REVIEW.validate_json(path.read_bytes())
        except FileNotFoundError:
            there = ", ".join(self.names()) or "none yet"
            raise NotFoundError(f"There is no review {name!r}; there is {there}.") from None
        except (ValidationError, OSError) as error:
            raise PellucidError(f"{path} is damaged ({_reason(error)}): restore it, or delete it and make the review anew.") from None

    def judgements(self, name: str) -> list[Judgement]:
        """What was found, the last word of each rater on each pair, in the order of pairs and raters."""
        path = self._path(name, JUDGEMENTS)
        try:
            lines = path.read_bytes().splitlines() if path.exists() else []
            found = [_JUDGEMENT.validate_json(line) for line in lines if line.endswith(b"}")]  # a process may have died within one
        except (ValidationError, OSError) as error:
            raise PellucidError(f"{path} is damaged ({_reason(error)}): mend the line, or delete it.") from None
        last = {(one.pair, one.rater): one for one in found}
        return [last[key] for key in sorted(last)]

    def judge(self, name: str, judgement: Judgement) -> None:
        """Keep what a rater has found; it holds in place of what he found of the pair before. It is on the disk then."""
        if not 0 <= judgement.pair < len(self.find(name).pairs):
            raise InvalidRequestError(f"The review {name!r} has no pair {judgement.pair + 1}: load the page again.")
        record: dict[str, Any] = asdict(judgement) | {"time": self._clock()}
        path = self._path(name, JUDGEMENTS)
        try:
            make_private(path)
            with path.open("ab", buffering=0) as file:
                # A line of its own whatever stands before it: a process may have died within a line.
                end = file.tell()
                line = (b"\n" if end else b"") + json.dumps(record, ensure_ascii=False).encode()
                try:
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)  # half a line on a full disk could pass for a damaged one
                    raise
        except OSError as error:
            raise _unwritable(path, error) from error

    def _path(self, name: str, ending: str) -> Path:
        if not NAME.fullmatch(name):
            raise InvalidRequestError(f"{name!r} is no name of a review: take letters, digits, dots, hyphens, underscores; 64 at most.")
        return self._folder / f"{name}{ending}"


def next_pair(review: Review, judgements: Sequence[Judgement], rater: str) -> int | None:
    """The first pair that a rater has not judged; None where there is none left."""
    judged = {one.pair for one in judgements if one.rater == rater}
    return next((pair for pair in range(len(review.pairs)) if pair not in judged), None)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return str(error)


def _unwritable(path: Path, error: OSError) -> PellucidError:
    return PellucidError(f"{path} cannot be written ({error.strerror}): free some space, or make the folder writable.")
