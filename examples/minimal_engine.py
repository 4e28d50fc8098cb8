"""Run the engine alone: token ids in, token ids with probabilities out. No HTTP, no text.

python examples/minimal_engine.py [MODEL]
"""

from __future__ import annotations

import asyncio
import sys
from math import exp

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.query import SamplingParams


async def generate(engine: LocalEngine, model: str, ids: list[int]) -> list[int]:
    """Return the greedy continuation of a prompt, and print each token's probability."""
    answer: list[int] = []
    async for item in engine.generate(model, Request(ids, SamplingParams(max_tokens=8))):
        if isinstance(item, TokenScore):
            answer.append(item.id)
            print(f"id {item.id:6}  p = {exp(item.logprob or 0.0):.4f}  rank {item.rank}")
        elif isinstance(item, Finish):
            print(f"finished: {item.reason}")
    return answer


def main(name: str = "smollm2-135m-instruct") -> None:
    from pellucid.config import load_settings

    loaded = load(name, device="cpu", quant="auto", store=Store(load_settings().cache), progress=Silent())
    engine = LocalEngine({loaded.name: loaded.model}, EngineSettings(slots=1, context=512))
    try:
        prompt = loaded.tokenizer.encode("def fibonacci(n):\n")
        answer = asyncio.run(generate(engine, loaded.name, prompt))
        print(b"".join(loaded.tokenizer.token_bytes(id) for id in answer).decode("utf-8", errors="replace"))
    finally:
        engine.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
