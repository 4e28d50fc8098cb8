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

_THREADS = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="pellucid-page")


async def in_page_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return the result of ``work``, which sees the context variables of the caller."""
    call = partial(contextvars.copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, call)
