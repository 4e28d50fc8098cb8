"""Imitates llama.vim: the request to llama-server at a cursor, and the shown part of the answer.

The request has llama.vim's defaults, without chunks of different files, as just after the start of
an editor. Answers are sampled (llama.vim's samplers have no temperature of 0), so the request has a
seed, unlike llama.vim's.
"""

from __future__ import annotations

from typing import Any

import httpx

PREFIX_LINES, SUFFIX_LINES = 256, 64
TOKENS = 128
SEED = 0

SERVER_FLAGS = ("-b", "1024", "-ub", "1024", "--cache-reuse", "256")
"""The flags for llama-server recommended by llama.vim."""


def request(before: str, after: str, tokens: int = TOKENS) -> dict[str, Any]:
    """Return the body of a POST to /infill."""
    *above, left = before.split("\n")
    right, *below = after.split("\n")
    return {
        "id_slot": 0,
        "input_prefix": "\n".join(above[-PREFIX_LINES:]) + "\n",
        "input_suffix": f"{right}\n" + "\n".join(below[:SUFFIX_LINES]) + "\n",
        "input_extra": [],
        "prompt": left,
        "n_predict": tokens,
        "stop": [],
        "n_indent": len(left) - len(left.lstrip()),
        "top_k": 40,
        "top_p": 0.9,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000,
        "seed": SEED,
    }


async def answer(client: httpx.AsyncClient, before: str, after: str) -> str:
    """Return llama-server's answer."""
    response = await client.post("/infill", json=request(before, after))
    response.raise_for_status()
    content: str = response.json()["content"]
    return content


def shown(content: str, before: str, after: str) -> str:
    """Return the shown part of an answer; empty if the answer only repeats existing text."""
    lines = content.rstrip("\n").split("\n")
    left = before.rpartition("\n")[2]
    right, *below = after.split("\n")
    if not content.strip() or _repeats(lines, left, right, below):
        return ""
    return "\n".join(lines)


def _repeats(lines: list[str], left: str, right: str, below: list[str]) -> bool:
    """Return whether an answer only repeats the rest of the cursor's line, or the lines below."""
    first, *others = lines
    if lines == [right] or (first == "" and others and others == below[: len(others)]):
        return True
    next_line = next((index for index, line in enumerate(below) if line.strip()), None)
    if next_line is None or left + first != below[next_line]:
        return False
    following = below[next_line + 1 :]
    if len(others) == 1:
        return bool(following) and following[0].startswith(others[0])
    return others == following[: len(others)]
