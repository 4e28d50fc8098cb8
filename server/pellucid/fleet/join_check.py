"""The check of a replica before admission: models, tokenizer, and the scores of a text."""

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
from pellucid.vocabulary.query import SamplingParams

PROBE = '''def greeting(name: str) -> str:
    """Return a greeting: "Grüße, 世界!" for instance."""
    if not name:
        raise ValueError("name is empty")
    return f"Hello, {name}!"  # 3.14 * 2 == 6.28
'''
"""A text with differences between tokenizers: indentation, digits, multibyte characters."""

MIN_CONTEXT = 64
"""Minimum length of a sequence."""

MAX_DIFFERENCE = 1e-3
"""Maximum difference of logprobs in nats between replicas with the same weights and dtype."""

PROBE_PARAMS = SamplingParams(max_tokens=1, top_logprobs=ALTERNATIVES)

NEEDS = "Pellucid needs vLLM 0.32 or later, started with --enable-scale-out and --max-logprobs 200."

logger = logging.getLogger(__name__)


class JoinError(Exception):
    """A replica that cannot take part. The message is a sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class ProbedModel:
    """A model with the ids of the probe, and the logprobs of the probe by most replicas."""

    ids: tuple[int, ...]
    vocab: int
    logprobs: tuple[float, ...] | None = None


async def probe_logprobs(replica: Replica, name: str, probe: ProbedModel) -> tuple[float, ...]:
    """Return a replica's logprobs of the probe.

    Raises JoinError and the errors of ``prompt_scores``.
    """
    tokens, _ = await replica.prompt_scores(read_body(name, Request(probe.ids, PROBE_PARAMS)), uuid4().hex, probe.vocab)
    logprobs = tuple(token.logprob for token in tokens if isinstance(token, WireToken))
    if len(logprobs) != len(probe.ids) - 1:
        raise JoinError(f"It returns no scores of a prompt. {NEEDS}")
    return logprobs


def difference(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(left - right) for left, right in zip(one, other, strict=True))


class JoinCheck:
    """Admits the replicas that agree with the front's tokenizers and with each other.

    The majority's probe scores are right; in a tie, the first listed replica's. A lost replica
    votes with its last scores, so that a loss never puts other replicas into the minority.

    ``probes`` are the ids of PROBE by model, ``vocabularies`` the vocabulary sizes.
    """

    def __init__(self, probes: Mapping[str, Sequence[int]], vocabularies: Mapping[str, int]) -> None:
        self.models = {model: ProbedModel(tuple(ids), vocabularies[model]) for model, ids in probes.items()}
        self.voters: Sequence[Replica] = ()
        """All replicas in the listed order; maintained by ``Membership``."""

    async def join(self, replica: Replica) -> None:
        """Check a replica, and admit it or note its problem. Take out replicas without a majority.

        A busy or slow replica stays: a loss shows as soon as a request fails.
        """
        try:
            served, probes = await self._check(replica)
        except (JoinError, ReplicaRefusedError) as error:
            replica.probes = {}
            _leave_out(replica, str(error))
        except (PellucidError, ReplicaLostError, ReplicaBusyError) as error:
            if replica.problem is not None:
                _leave_out(replica, str(error))
        else:
            replica.models, replica.probes = served, probes
            self._elect()
            for one in self.voters:
                reason = self._disagreement(one) if one is replica or one.problem is None else None
                if reason is not None:
                    one.models = {}
                    _leave_out(one, reason)
                elif one is replica:
                    one.problem = None

    def revision(self, model: str) -> str | None:
        """Return a name for these weights in this dtype (``None`` before a replica joined).

        The mean logprob of the probe hardly shows rounding, but shows other weights or dtypes.
        """
        logprobs = self.models[model].logprobs
        return None if logprobs is None else f"probe{fmean(logprobs):.3f}"

    async def _check(self, replica: Replica) -> tuple[dict[str, int], dict[str, tuple[float, ...]]]:
        replica.version = clean(str((await replica.ask("/version")).get("version", "")))
        listed = _models_in(await replica.ask("/v1/models"))
        served = {name: context for name, context in listed.items() if name in self.models}
        if not served:
            names = clean(", ".join(listed))
            raise JoinError(
                f"It serves {names or 'no model'}, and not {', '.join(self.models)}: see --served-model-name."
            )
        scores: dict[str, tuple[float, ...]] = {}
        short = [name for name, context in served.items() if context < MIN_CONTEXT]
        if short:
            raise JoinError(f"Its --max-model-len is less than {MIN_CONTEXT} tokens for {', '.join(short)}.")
        for model in served:
            await self._check_tokenizer(replica, model)
            scores[model] = await self._check_scores(replica, model)
        return served, scores

    def _elect(self) -> None:
        for model, probed in self.models.items():
            votes = self._votes(model)
            if votes:  # First of equal maxima
                right = max(votes.values(), key=lambda logprobs: sum(_agree(logprobs, vote) for vote in votes.values()))
                self.models[model] = replace(probed, logprobs=right)

    def _disagreement(self, replica: Replica) -> str | None:
        for model, logprobs in replica.probes.items():
            right, votes = self.models[model].logprobs, self._votes(model)
            if right is None or _agree(logprobs, right):
                continue
            winners = [one.url for one, vote in votes.items() if _agree(vote, right)]
            is_outvoted = len(winners) > sum(_agree(vote, logprobs) for vote in votes.values())
            whose = f"{len(winners)} of {len(votes)} engines" if is_outvoted else f"{winners[0]}, which is listed first"
            remedy = "" if is_outvoted else ", or list a right engine first"
            most = difference(logprobs, right)
            return (
                f"Its logprobs of {model} differ by up to {most:.2g} from those of {whose}: "
                f"use the same weights and --dtype{remedy}."
            )
        return None

    def _votes(self, model: str) -> dict[Replica, tuple[float, ...]]:
        return {one: one.probes[model] for one in self.voters if model in one.probes}

    async def _check_tokenizer(self, replica: Replica, model: str) -> None:
        reply = await replica.ask("/tokenize", {"model": model, "prompt": PROBE, "add_special_tokens": False})
        if reply.get("tokens") != list(self.models[model].ids):
            raise JoinError(
                f"Its tokenizer of {model} is not that of the folder given by --model: both must be of the same model."
            )

    async def _check_scores(self, replica: Replica, model: str) -> tuple[float, ...]:
        """Return the scores of the probe, and compile kernels before the first user's request."""
        probe = self.models[model]
        body = generate_body(model, Request(probe.ids, PROBE_PARAMS), [], 1)
        try:
            async for _ in replica.scores(body, uuid4().hex, probe.vocab):
                pass
            return await probe_logprobs(replica, model, probe)
        except ReplicaLostError as error:
            if isinstance(error.__cause__, MalformedAnswerError):
                raise JoinError(f"It does not answer in the expected form. {NEEDS}") from error
            raise


def _agree(one: Sequence[float], other: Sequence[float]) -> bool:
    return difference(one, other) <= MAX_DIFFERENCE


def _leave_out(replica: Replica, problem: str) -> None:
    if problem != replica.problem:
        logger.warning("The engine %s takes no part: %s", replica.url, problem)
    replica.take_out(problem)


def _models_in(reply: Mapping[str, Any]) -> dict[str, int]:
    """Return the contexts of the models in a reply of /v1/models, without adapters."""
    data = reply.get("data")
    listed = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
    return {
        str(one["id"]): one["max_model_len"]
        for one in listed
        if "id" in one and one.get("parent") is None and type(one.get("max_model_len")) is int
    }
