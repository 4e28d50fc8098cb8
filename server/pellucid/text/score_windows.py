"""Scores of a text that is longer than the context, in overlapping windows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import astuple, dataclass, replace
from operator import add
from time import monotonic

from pellucid.engine.port import Engine
from pellucid.engine.request import Admission, Request
from pellucid.engine.token_scores import TokenScore
from pellucid.vocabulary.finish import Finish, FinishReason, Usage


@dataclass(frozen=True, slots=True)
class ReadingWindow:
    begin: int
    end: int
    counted: int


def windows(length: int, window: int, stride: int | None = None) -> Iterator[ReadingWindow]:
    """Yield windows of at most ``window`` tokens in which each of ``length`` tokens counts once.

    After the first window, the last ``stride`` tokens (default: half a window) count, and so have
    at least ``window - stride`` tokens before them.
    """
    step = stride or max(window // 2, 1)
    assert 0 < step < window, "the tokens that count have a context"
    read_until = 0
    while read_until < length:
        end = min(length, window if not read_until else read_until + step)
        yield ReadingWindow(max(0, end - window), end, end - read_until)
        read_until = end


class RequestKeys:
    """The newest request of each key, for a single event loop.

    The engine supersedes only running requests, and between two windows a reading is not running.
    """

    def __init__(self) -> None:
        self._newest: dict[str, object] = {}

    @contextmanager
    def hold(self, key: str | None) -> Iterator[Callable[[], bool]]:
        """Hold a key for a request; yield a function that tests if the request is the newest."""
        mark = object()
        if key is not None:
            self._newest[key] = mark
        try:
            yield lambda: key is None or self._newest.get(key) is mark
        finally:
            if key is not None and self._newest.get(key) is mark:
                del self._newest[key]


async def score_windows(
    engine: Engine,
    model: str,
    request: Request,
    *,
    has_bos: bool,
    is_newest: Callable[[], bool],
    on_admission: Callable[[Admission, int], None],
) -> AsyncGenerator[TokenScore | Finish]:
    """Yield the score of each token of a long prompt, once and in order, then one Finish.

    Each window begins with the BOS, if any. Closing the generator cancels the current window. The
    deadline is for the whole reading, and ``usage`` the cost of all windows. ``on_admission``
    receives the admission and the number of tokens of each window.
    """
    ids, begun, usage, bos = request.prompt, monotonic(), Usage(), int(has_bos)
    for window in windows(len(ids) - bos, engine.context(model) - bos):
        if not is_newest():
            yield Finish(FinishReason.SUPERSEDED, usage)
            return
        terms = request.terms
        if terms.deadline is not None:
            terms = replace(terms, deadline=terms.deadline - (monotonic() - begun))
        part = replace(
            request,
            prompt=[*ids[:bos], *ids[bos + window.begin : bos + window.end]],
            terms=terms,
            score_from=bos + window.end - window.begin - window.counted if window.begin else 0,
            keep=False,
        )
        async with aclosing(engine.generate(model, part)) as items:
            async for item in items:
                if isinstance(item, TokenScore):
                    yield replace(item, position=window.begin + item.position)
                elif isinstance(item, Admission):
                    on_admission(item, len(part.prompt))
                else:
                    usage = Usage(*map(add, astuple(usage), astuple(item.usage)))
                    if item.reason is not FinishReason.LENGTH:
                        yield replace(item, usage=usage)
                        return
    yield Finish(FinishReason.LENGTH, usage)
