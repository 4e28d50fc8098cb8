"""Counts the files of a search, and ends it when its time is over or no caller waits for it any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from threading import Event


@dataclass(slots=True)
class SearchBudget:
    """The time of a search on another thread.

    ``has_more`` is true if there are more files than those that were found.
    """

    seconds: float
    files: int = 0
    searched: int = 0
    has_more: bool = False
    stopped: Event = field(default_factory=Event)
    _begun: float = field(default_factory=time.monotonic)

    def may_continue(self) -> bool:
        """Return whether a further file may be searched."""
        return not self.stopped.is_set() and time.monotonic() - self._begun <= self.seconds

    @property
    def is_complete(self) -> bool:
        """True if all files were searched."""
        return self.searched == self.files and not self.has_more

    def __str__(self) -> str:
        more = "more than " if self.has_more else ""
        return f"{self.searched:,} of {more}{self.files:,} files"


FindFiles = Callable[[Collection[str], SearchBudget], Iterable[tuple[str, str]]]
"""Yields the URIs and the texts of documents and files, given names of which each must have one,
and counts the files.
"""
