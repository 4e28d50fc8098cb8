"""Time limit and file count of a search."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from threading import Event


@dataclass(slots=True)
class SearchBudget:
    seconds: float
    files: int = 0
    searched: int = 0
    has_more: bool = False
    stopped: Event = field(default_factory=Event)
    _begun: float = field(default_factory=time.monotonic)

    def may_continue(self) -> bool:
        return not self.stopped.is_set() and time.monotonic() - self._begun <= self.seconds

    @property
    def is_complete(self) -> bool:
        return self.searched == self.files and not self.has_more

    def __str__(self) -> str:
        more = "more than " if self.has_more else ""
        return f"{self.searched:,} of {more}{self.files:,} files"


FindFiles = Callable[[Collection[str], SearchBudget], Iterable[tuple[str, str]]]
"""Yields URIs and texts of documents and files with any of the names; counts the files."""
