"""Runs blocking work of the page in threads of its own, so that the page and the API never wait for threads that the other one occupies."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 16
MAX_RENDERING_THREADS = 4

_THREADS = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="pellucid-page")
_RENDERING_THREADS = ThreadPoolExecutor(MAX_RENDERING_THREADS, thread_name_prefix="pellucid-rendering")


async def in_page_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``work``, which sees the context variables of the caller."""
    return await _run(_THREADS, partial(work, *args, **kwargs))


async def in_rendering_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do as ``in_page_thread`` with work that waits for highlighted code, so that logins and storage do not wait for it."""
    return await _run(_RENDERING_THREADS, partial(work, *args, **kwargs))


async def _run(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, contextvars.copy_context().run, work)
