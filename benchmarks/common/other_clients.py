"""Imitates Tabby and Continue: requests to llama.cpp's routes at a cursor, and the shown answers.

Prompt, limits and stop texts are from TabbyML/tabby 21b2904 and continuedev/continue d0a3c0b,
without text of different files, as just after the start of an editor. Filters are imitated if they
decide about the first line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN
from pellucid.completion.context.prompt_context import window_end, window_start
from pellucid.completion.document_cursor import DocumentCursor

TABBY_LINES = 20
TABBY_TOKENS = 64
TABBY_KEYWORDS = {
    "python": "def from class import",
    "rust": "fn trait impl enum pub extern static unsafe use",
    "java": (
        "abstract public private class const exports extends implements static import interface module package "
        "var enum return"
    ),
    "javascript": "abstract async class const export function interface module package type var enum let",
    "go": "func interface struct package type import var const",
    "c": "const enum extern inline register static struct typedef union volatile",
}
"""Words at the start of a line that end an answer."""

TABBY_LANGUAGES = dict.fromkeys(("typescript", "typescriptreact", "javascriptreact"), "javascript")

CONTINUE_PROMPT_TOKENS = 1024
CONTINUE_PREFIX_SHARE, CONTINUE_SUFFIX_SHARE = 0.3, 0.2
CONTINUE_TOKENS = 256
CONTINUE_STOPS = ("/src/", "#- coding: utf-8", "```")


async def ask_tabby(client: httpx.AsyncClient, place: DocumentCursor) -> str:
    """Return the first line shown by Tabby, or an empty string."""
    before, after = place.before, place.after
    prefix = "".join(before.splitlines(keepends=True)[-TABBY_LINES:])
    suffix = "".join(after.splitlines(keepends=True)[:TABBY_LINES]) or "\n"
    keywords = TABBY_KEYWORDS.get(TABBY_LANGUAGES.get(place.language, place.language), "").split()
    comment = "#" if place.language == "python" else "//"
    stop = ["\n\n", f"\n{comment}", *(f"\n{word}" for word in keywords)]
    content = await _complete(client, _prompt(prefix, suffix), TABBY_TOKENS, 0.1, stop)
    right = after.partition("\n")[0].rstrip()
    first, _, others = content.partition("\n")
    # Several lines, with text right of the cursor.
    if right and others:
        first = first.rstrip().removesuffix(right) if first.rstrip().endswith(right) else ""
    return first if first.strip() else ""


async def ask_continue(client: httpx.AsyncClient, place: DocumentCursor) -> str:
    """Return the first line shown by Continue, or an empty string."""
    prefix, suffix = (
        int(share * CONTINUE_PROMPT_TOKENS * CHARACTERS_PER_TOKEN)
        for share in (CONTINUE_PREFIX_SHARE, CONTINUE_SUFFIX_SHARE)
    )
    before, after = place.before, place.after
    prompt = _prompt(before[window_start(before, prefix) :], after[: window_end(after, suffix)])
    content = await _complete(client, prompt, CONTINUE_TOKENS, 0.01, CONTINUE_STOPS, first_line=True)
    if before.endswith(" "):
        content = content.removeprefix(" ")
    first = content.partition("\n")[0]
    above = next((line for line in reversed(before.split("\n")[:-1]) if line.strip()), "")
    return "" if not first.strip() or first.strip() == above.strip() else first


def _prompt(prefix: str, suffix: str) -> str:
    return f"<|fim_prefix|>{prefix}<|fim_suffix|>{suffix}<|fim_middle|>"


async def _complete(
    client: httpx.AsyncClient,
    prompt: str,
    tokens: int,
    temperature: float,
    stop: Sequence[str],
    *,
    first_line: bool = False,
) -> str:
    """Return the text of an answer, with ``first_line`` only up to the end of the first non-blank
    line.
    """
    body: dict[str, Any] = {
        "prompt": prompt,
        "n_predict": tokens,
        "temperature": temperature,
        "stop": list(stop),
        "seed": 0,
    }
    if not first_line:
        response = await client.post("/completion", json=body)
        response.raise_for_status()
        content: str = response.json()["content"]
        return content
    text = ""
    async with client.stream("POST", "/completion", json=body | {"stream": True}) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                text += json.loads(line.removeprefix("data: "))["content"]
            if "\n" in text.lstrip("\n"):
                break
    return text
