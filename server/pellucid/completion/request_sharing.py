"""What is being answered: one question for each document, whoever asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class _SharedRequest(Generic[T]):
    question: Hashable
    task: asyncio.Task[T]
    waiting: int = 0


class SharedRequests(Generic[T]):
    """The same question of a document shares its answer; another one ends it, and so does the last one to lose interest."""

    def __init__(self) -> None:
        self._answers: dict[str, _SharedRequest[T]] = {}

    async def answer(self, document: str, question: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T | None:
        """What ``make`` gives; None where another question about the document came meanwhile."""
        current = self._answers.get(document)
        if current is None or current.question != question or current.task.done():
            self.end(document)
            current = self._answers[document] = _SharedRequest(question, asyncio.create_task(make()))
        current.waiting += 1
        try:
            return await asyncio.shield(current.task)
        except asyncio.CancelledError:
            if current.task.cancelled() and not _is_cancelled():
                return None
            raise
        finally:
            current.waiting -= 1
            if not current.waiting:
                current.task.cancel()
                if self._answers.get(document) is current:
                    del self._answers[document]

    def end(self, document: str) -> None:
        """End what is being answered about a document."""
        current = self._answers.pop(document, None)
        if current is not None:
            current.task.cancel()

    def end_all(self) -> None:
        """End all that is being answered."""
        for document in list(self._answers):
            self.end(document)


def _is_cancelled() -> bool:
    """Whether whoever asked took the question back."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
