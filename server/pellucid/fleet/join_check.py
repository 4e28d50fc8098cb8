"""Checks a replica before it takes part: its models, its tokenizer, and the scores of one text."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any
from uuid import uuid4

from pellucid.engine.request import Request
from pellucid.errors import PellucidError
from pellucid.fleet.replica import Replica, ReplicaBusyError, ReplicaLostError, ReplicaRefusedError
from pellucid.fleet.vllm_wire import ALTERNATIVES, MalformedAnswerError, WireToken, clean, generate_body, read_body
from pellucid.tokens import SamplingParams

PROBE = '''def greeting(name: str) -> str:
    """Return a greeting: "Grüße, 世界!" for instance."""
    if not name:
        raise ValueError("name is empty")
    return f"Hello, {name}!"  # 3.14 * 2 == 6.28
'''
"""A text with what tokenizers disagree about: indentation, digits, punctuation, and characters of several bytes."""

MIN_CONTEXT = 64
"""Tokens of a sequence, below which nothing can be answered."""

MAX_DIFFERENCE = 1e-3
"""The most by which logprobs of two replicas differ that have the same weights in the same dtype, in nats."""

PROBE_PARAMS = SamplingParams(max_tokens=1, top_logprobs=ALTERNATIVES)

NEEDS = "Pellucid needs vLLM 0.32 or later, started with --enable-scale-out and --max-logprobs 200."

logger = logging.getLogger(__name__)


class JoinError(Exception):
    """A replica that cannot take part. The message is a sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class ProbedModel:
    """A model of the front as every replica must have it: the ids of the probe, and their logprobs at the first replica that joined."""

    ids: tuple[int, ...]
    vocab: int
    logprobs: tuple[float, ...] | None = None


async def probe_logprobs(replica: Replica, name: str, probe: ProbedModel) -> tuple[float, ...]:
    """Return the logprobs of the probe by a model or an adapter of a replica. Raises JoinError and the errors of ``prompt_scores``."""
    tokens, _ = await replica.prompt_scores(read_body(name, Request(probe.ids, PROBE_PARAMS)), uuid4().hex, probe.vocab)
    logprobs = tuple(token.logprob for token in tokens if isinstance(token, WireToken))
    if len(logprobs) != len(probe.ids) - 1:
        raise JoinError(f"It returns no scores of a prompt. {NEEDS}")
    return logprobs


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the most by which two lists of logprobs differ."""
    return max(abs(left - right) for left, right in zip(one, other, strict=True))


class JoinCheck:
    """Admits the replicas that agree with the front's tokenizers and with each other.

    ``probes`` are the ids of PROBE by model, and ``vocabularies`` the numbers of tokens of the models.
    """

    def __init__(self, probes: Mapping[str, Sequence[int]], vocabularies: Mapping[str, int]) -> None:
        self.models = {model: ProbedModel(tuple(ids), vocabularies[model]) for model, ids in probes.items()}

    async def join(self, replica: Replica) -> None:
        """Check a replica, and let it take part or note its problem.

        One that takes part is not left out because it is busy or slow: a lost one shows as soon as a request fails.
        """
        try:
            await self._check(replica)
            replica.problem = None
        except (JoinError, PellucidError, ReplicaLostError, ReplicaBusyError) as error:
            if replica.problem is None and not isinstance(error, JoinError | ReplicaRefusedError):
                return
            if str(error) != replica.problem:
                logger.warning("The engine %s takes no part: %s", replica.url, error)
            replica.problem = str(error)

    def revision(self, model: str) -> str | None:
        """Return a name for these weights in this dtype, None before a replica joined.

        It is the mean logprob of the probe, in which rounding hardly shows and other weights or another dtype do.
        """
        logprobs = self.models[model].logprobs
        return None if logprobs is None else f"probe{fmean(logprobs):.3f}"

    async def _check(self, replica: Replica) -> None:
        replica.version = clean(str((await replica.ask("/version")).get("version", "")))
        listed = _models_in(await replica.ask("/v1/models"))
        served = {name: context for name, context in listed.items() if name in self.models}
        if not served:
            names = clean(", ".join(listed))
            raise JoinError(f"It serves {names or 'no model'}, and not {', '.join(self.models)}: see --served-model-name.")
        scores: dict[str, tuple[float, ...]] = {}
        short = [name for name, context in served.items() if context < MIN_CONTEXT]
        if short:
            raise JoinError(f"Its --max-model-len is less than {MIN_CONTEXT} tokens for {', '.join(short)}.")
        for model in served:
            await self._check_tokenizer(replica, model)
            scores[model] = await self._check_scores(replica, model)
        replica.models = served
        for model, logprobs in scores.items():
            if self.models[model].logprobs is None:
                self.models[model] = replace(self.models[model], logprobs=logprobs)

    async def _check_tokenizer(self, replica: Replica, model: str) -> None:
        reply = await replica.ask("/tokenize", {"model": model, "prompt": PROBE, "add_special_tokens": False})
        if reply.get("tokens") != list(self.models[model].ids):
            raise JoinError(f"Its tokenizer of {model} is not that of the folder given by --model: both must be of the same model.")

    async def _check_scores(self, replica: Replica, model: str) -> tuple[float, ...]:
        """Compare the scores of the probe with those of the first replica, and return them.

        It also compiles what the first request would wait for.
        """
        probe = self.models[model]
        body = generate_body(model, Request(probe.ids, PROBE_PARAMS), [], 1)
        try:
            async for _ in replica.scores(body, uuid4().hex, probe.vocab):
                pass
            logprobs = await probe_logprobs(replica, model, probe)
        except ReplicaLostError as error:
            if isinstance(error.__cause__, MalformedAnswerError):
                raise JoinError(f"It does not answer in the expected form. {NEEDS}") from error
            raise
        most = difference(logprobs, self.models[model].logprobs or logprobs)
        if not most <= MAX_DIFFERENCE:  # also for what is not a number
            raise JoinError(
                f"Its logprobs of {model} differ by up to {most:.2g} from those of the first engine that joined: "
                "use the same weights and --dtype, or restart this server."
            )
        return logprobs


def _models_in(reply: Mapping[str, Any]) -> dict[str, int]:
    """Return the models of a reply of /v1/models, with their contexts. Adapters, which have a parent, are left out."""
    data = reply.get("data")
    listed = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    return {
        str(one["id"]): one["max_model_len"]
        for one in listed
        if "id" in one and one.get("parent") is None and type(one.get("max_model_len")) is int
    }
