"""Measure the cost of a grammar per decode step, and the schemas accepted from MaskBench.

    python benchmarks/structured_output.py
    python benchmarks/structured_output.py --data jsonschemabench/maskbench/data --schemas 300

The cost of a token is the processor time in which the engine's thread computes and applies the
mask, chooses and advances; without a grammar, the most probable token costs nothing there. The cost
is compared with the fastest answer's decode step without a grammar, one token a step, in the same
run. Lookup and forced tokens, which save steps, are off, and given as a second figure.

With ``--data`` (the folder ``maskbench/data`` of github.com/guidance-ai/jsonschemabench), schemas
are drawn with a fixed seed. Valid instances, in the format of ``json.dumps``, should be accepted
and invalid instances refused, unless the schema itself is refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from common.machine import about
from common.markdown_tables import table
from common.quantiles import quantile
from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import Logprobs
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.sampler import MaskRow, Sampler
from pellucid.engine.token_scores import Choice, TokenScore
from pellucid.errors import InvalidRequestError
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import LoadedModel, load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.text.prompts import ChatTemplate
from pellucid.text.structured.grammar_cache import GrammarCompiler
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import Grammar, SamplingParams

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "languages": {"type": "array", "items": {"enum": ["Python", "C", "Rust", "Go"]}, "maxItems": 3},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            "required": ["street", "city"],
            "additionalProperties": False,
        },
    },
    "required": ["name", "age", "languages", "address"],
    "additionalProperties": False,
}
GRAMMARS = {
    "schema": Grammar("json_schema", json.dumps(PERSON)),
    "schema, no white space": Grammar("json_schema", json.dumps(PERSON), whitespace=""),
    "any JSON object": Grammar("json_object"),
    "regex of words": Grammar("regex", r"([A-Z][a-z]+( [a-z]+){3,20}\. ){3,8}"),
    "Lark, free text": Grammar("grammar", "start: /(.|\\n)*/"),
}
QUESTION = "Invent a programmer, and answer in JSON with name, age, languages and address."


@dataclass
class Costs:
    """Seconds of each token under a grammar."""

    seconds: list[float] = field(default_factory=list)

    def watch(self) -> None:
        """Measure the sampler from now on."""
        choose = Sampler.choose

        def timed(sampler: Sampler, logits: Logprobs, mask_row: MaskRow) -> Choice:
            begun = time.thread_time()
            choice = choose(sampler, logits, mask_row)
            self.seconds.append(time.thread_time() - begun)
            return choice

        Sampler.choose = timed  # type: ignore[assignment, method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--tokens", type=int, default=128, help="most tokens of an answer")
    parser.add_argument("--repeats", type=int, default=2, help="answers for each grammar")
    parser.add_argument("--data", type=Path, help="MaskBench's folder of schemas")
    parser.add_argument("--schemas", type=int, default=300, help="number of schemas, chosen with a fixed seed")
    parser.add_argument("--seed", type=int, default=16)
    options = parser.parse_args()
    print(about(f"llguidance {version('llguidance')}"))
    settings = load_settings()
    loaded = load(options.model, store=Store(settings.cache), progress=Silent())
    compiler = GrammarCompiler(loaded.tokenizer)
    asyncio.run(measure(loaded, compiler, options.tokens, options.repeats))
    if options.data is not None:
        files = sorted(options.data.glob("*.json"))
        chosen = random.Random(options.seed).sample(files, min(options.schemas, len(files)))
        asyncio.run(judge(loaded, compiler, chosen))


async def measure(loaded: LoadedModel, compiler: GrammarCompiler, tokens: int, repeats: int) -> None:
    """Print the cost of each grammar."""
    prompt = ChatTemplate(loaded.tokenizer, loaded.name).encode([Message("user", QUESTION)]).ids
    begun = time.perf_counter()
    await compiler.constraint(Grammar("regex", "a"))
    prepared = time.perf_counter() - begun
    rows = []
    with closing(LocalEngine({loaded.name: loaded.model}, EngineSettings(slots=1, context=2048))) as engine:
        await answer(engine, loaded, prompt, tokens)
        steps = [(await answer(engine, loaded, prompt, tokens))[1] for _ in range(2)]
        for name, grammar in GRAMMARS.items():
            begun = time.perf_counter()
            await compiler.constraint(grammar)
            compiled = time.perf_counter() - begun
            costs, spent = Costs(), []
            kept = Sampler.choose
            costs.watch()
            for _ in range(repeats):
                constraint = await compiler.constraint(grammar)
                spent.append(await answer(engine, loaded, prompt, tokens, constraint))
                steps.append((await answer(engine, loaded, prompt, tokens))[1])
            Sampler.choose = kept  # type: ignore[method-assign]
            ahead = await answer(engine, loaded, prompt, tokens, await compiler.constraint(grammar), lookup=True)
            rows.append((name, compiled, costs.seconds, spent[0], ahead))
    step = min(steps)
    print(
        f"\nModel {loaded.name}: {step * 1000:.1f} ms a step without a grammar; "
        f"the tokenizer took {prepared:.2f} s, once.\n"
    )
    titles = [
        "grammar",
        "compiled, ms",
        "tokens",
        "median, us",
        "p99, us",
        "largest, us",
        "median of a step",
        "p99 of a step",
    ]
    titles += ["ms a token", "with forced tokens and lookup"]
    print(table(titles, [_row(*row, step) for row in rows]))


def _row(
    name: str,
    compiled: float,
    seconds: Sequence[float],
    plain: tuple[int, float],
    ahead: tuple[int, float],
    step: float,
) -> Sequence[str]:
    middle, high = quantile(seconds, 0.5), quantile(seconds, 0.99)
    microseconds = [f"{value * 1e6:.0f}" for value in (middle, high, max(seconds))]
    shares = [f"{100 * value / step:.1f} %" for value in (middle, high)]
    return [
        name,
        f"{compiled * 1000:.1f}",
        str(len(seconds)),
        *microseconds,
        *shares,
        f"{plain[1] * 1000:.1f}",
        f"{ahead[1] * 1000:.1f}",
    ]


async def answer(
    engine: LocalEngine,
    loaded: LoadedModel,
    prompt: Sequence[int],
    tokens: int,
    constraint: Any = None,
    *,
    lookup: bool = False,
) -> tuple[int, float]:
    """Generate an answer, and return the number of tokens and the seconds of each later token."""
    stops = loaded.tokenizer.eos_ids if constraint is not None else frozenset[int]()
    request = Request(prompt, SamplingParams(max_tokens=tokens), stop_ids=stops, constraint=constraint, lookup=lookup)
    count, finish = 0, None
    async with aclosing(engine.generate(loaded.name, request)) as items:
        async for item in items:
            count += isinstance(item, TokenScore)
            finish = item if isinstance(item, Finish) else finish
    assert finish is not None
    assert finish.error is None, finish.error
    return count, finish.usage.decode / max(count - 1, 1)


async def judge(loaded: LoadedModel, compiler: GrammarCompiler, files: Sequence[Path]) -> None:
    """Print the numbers of accepted schemas and instances."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    mistakes, times = [], []
    for file in files:
        case = json.loads(file.read_text())
        begun = time.perf_counter()
        try:
            matcher = await compiler.matcher(Grammar("json_schema", json.dumps(case["schema"])))
        except InvalidRequestError as error:
            outcomes["schemas refused"] += 1
            reasons[str(error).removeprefix("grammar cannot be used as a grammar: ")[:60]] += 1
            continue
        finally:
            times.append(time.perf_counter() - begun)
        outcomes["schemas compiled"] += 1
        wrong = False
        for test in case["tests"]:
            ids = loaded.tokenizer.encode(json.dumps(test["data"], ensure_ascii=False))
            tried = matcher.deep_copy()
            accepted = tried.try_consume_tokens(ids) == len(ids) and tried.is_accepting()
            kind = "valid" if test["valid"] else "invalid"
            outcomes[f"{kind} instances {'accepted' if accepted else 'refused'}"] += 1
            if accepted != test["valid"]:
                wrong = True
                mistakes.append(
                    f"{file.name}: {kind} instance {'accepted' if accepted else 'refused'} ({test['description']})"
                )
        outcomes["schemas with a wrong verdict"] += wrong
    print(
        f"\nMaskBench, {len(files)} schemas; compiled in {1000 * quantile(times, 0.5):.1f} ms (median), "
        f"{max(times):.2f} s (longest).\n"
    )
    print(table(["outcome", "number"], [(name, str(outcomes[name])) for name in sorted(outcomes)]))
    print(
        "\n"
        + table(
            ["schema refused because", "number"], [(reason, str(count)) for reason, count in reasons.most_common(25)]
        )
    )
    print("\n" + "\n".join(mistakes[:50]))


if __name__ == "__main__":
    main()
