"""Separate thread pools for the page's blocking work, so the API never waits for the page."""

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
    """Run ``work`` in a thread, with the caller's context variables."""
    return await _run(_THREADS, partial(work, *args, **kwargs))


async def in_rendering_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run highlighting work in a separate pool, so that logins and storage need not wait."""
    return await _run(_RENDERING_THREADS, partial(work, *args, **kwargs))


async def _run(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, contextvars.copy_context().run, work)
