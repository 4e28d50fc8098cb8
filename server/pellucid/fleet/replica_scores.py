"""The scores of a request from a replica: the prompt's, then the answer's."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.fleet.constrained_tokens import AllowedTokens, allowed_tokens
from pellucid.fleet.replica import Replica, ReplicaLostError
from pellucid.fleet.running_request import RequestEndError, RunningRequest
from pellucid.fleet.vllm_wire import WireToken, generate_body, read_body, sampled_probability, token_score
from pellucid.vocabulary.finish import FinishReason


async def missing_scores(
    run: RunningRequest, replica: Replica, vocab: int, name: str, revision: str
) -> AsyncGenerator[TokenScore]:
    """Yield the scores that no replica has delivered, of a model called ``name`` on replicas."""
    request = run.request
    # An engine that reloads an adapter keeps the old cache, so each revision needs its own
    # cache.
    salt = "/".join(filter(None, (revision, request.cache_salt)))
    more = {"cache_salt": salt} if salt else {}
    # A later engine request finds tokens in the cache that this request has computed.
    is_first = not (run.has_delivered or run.moves)
    if not run.is_read and request.score_from is not None:
        read = replica.prompt_scores(read_body(name, request) | more, run.session, vocab)
        tokens, cached = await run.wait(replica.unless_it_hangs(read, len(request.prompt)))
        replica.hang.note_token()
        run.cached, run.is_read, is_first = cached if is_first else run.cached, True, False
        for position, token in enumerate(tokens):
            if position >= request.score_from:
                yield _read_score(run, position, token, vocab)
    if not run.room and not run.has_delivered:
        await _prefill(run, replica, generate_body(name, request, [], 1) | more, vocab)
    constraint = request.constraint
    allowed = await run.wait(allowed_tokens(constraint, vocab))
    refused = stopped = False
    while run.room and not stopped:
        limits = allowed if allowed is not None and (refused or _is_always_named(request)) else None
        most = run.room if limits is None else 1
        body = generate_body(name, request, run.answer, most, None if limits is None else limits.ids) | more
        before, refused = len(run.answer), False
        async with aclosing(replica.scores(body, run.session, vocab)) as events:
            async for event in run.each(replica.each(events, len(body["token_ids"]))):
                if event.cached is not None and is_first:
                    run.cached = min(event.cached, len(request.prompt))
                for token in event.tokens:
                    refused = allowed is not None and token.id not in allowed
                    if refused:
                        break
                    if constraint is None:
                        yield _answer_score(run, token, None, vocab)
                        continue
                    constraint.advance(token.id)
                    yield _answer_score(run, token, allowed, vocab)
                    allowed = await run.wait(allowed_tokens(constraint, vocab))
                if event.stop_id is not None and not refused:
                    refused = allowed is not None and event.stop_id not in allowed
                    stopped = not refused
                if refused:
                    # Cancels the unconstrained rest.
                    break
        is_first = False
        if len(run.answer) == before and not stopped and (limits is not None or not refused):
            raise ReplicaLostError(f"{replica.url} ended an answer without a token that is allowed.")
    if stopped:
        raise RequestEndError(FinishReason.STOP)


async def _prefill(run: RunningRequest, replica: Replica, body: Mapping[str, Any], vocab: int) -> None:
    """Read a prompt into the cache by generating a token.

    Requests for prompt scores would bypass the cache.
    """
    async with aclosing(replica.scores(body, run.session, vocab)) as events:
        async for event in run.each(replica.each(events, len(run.request.prompt))):
            run.cached = run.cached if event.cached is None else min(event.cached, len(run.request.prompt))
    run.is_read = True


def _read_score(run: RunningRequest, position: int, token: WireToken | None, vocab: int) -> TokenScore:
    if token is None:
        return TokenScore(run.request.prompt[position], position, None, None, None)
    return token_score(token, position, vocab, run.request.params.top_logprobs)


def _answer_score(run: RunningRequest, token: WireToken, allowed: AllowedTokens | None, vocab: int) -> TokenScore:
    params, position = run.request.params, len(run.request.prompt) + len(run.answer)
    run.answer.append(token.id)
    run.first_token = run.first_token or time.monotonic()
    sampled = sampled_probability(token, params) if allowed is None or params.temperature == 0 else None
    score = token_score(token, position, vocab, params.top_logprobs, sampled)
    return score if allowed is None else allowed.limited(score, token, params.top_logprobs)


def _is_always_named(request: Request) -> bool:
    """Return whether each step lists the allowed tokens, not only a step after a refused token.

    Token healing rarely agrees with the model's own choice, and truncated sampling must draw among
    the allowed tokens. Without truncation, a refused draw may be repeated among the allowed tokens
    without a change of any probability.
    """
    params, constraint = request.params, request.constraint
    truncates = params.top_k or params.top_p < 1 or params.min_p
    return constraint is not None and (constraint.hides_refused or bool(params.temperature and truncates))
