"""Tests of the user's assistant: an action of a user is a single request of the user."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from pellucid.door.user_assistant import Stream, UserAssistant
from pellucid.door.users import UNCOUNTED, UserLimits, Users, current_request
from pellucid.errors import InvalidRequestError, QueueFullError
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token
from support.servers.http_servers import tiny_assistant

FOUR = SamplingParams(max_tokens=4, ignore_eos=True, logit_bias={ord("a"): 100.0})

Verb = Callable[[UserAssistant], Stream]

VERBS: dict[str, Verb] = {
    "complete": lambda assistant: assistant.complete(CompletionQuery("0123456789", params=FOUR)),
    "chat": lambda assistant: assistant.chat(ChatQuery([Message("user", "u")], FOUR)),
    "score": lambda assistant: assistant.score(ScoreQuery("abcd")),
}


@pytest.fixture(scope="module")
async def local() -> AsyncIterator[LocalAssistant]:
    found, engine = tiny_assistant(alone=True)
    yield found
    await asyncio.to_thread(engine.close)


def running(users: Users, user: str = "anna") -> int:
    """Return the number of a user's requests with a place."""
    return len(users.state(user).places)


async def consume(stream: Stream) -> list[Token | Finish]:
    return [item async for item in stream]


@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_counts(local: LocalAssistant, verb: str) -> None:
    """Each verb takes its user's place, counts tokens and frees the place; no reader has a user."""
    users = Users(UserLimits(requests=1))
    async with aclosing(VERBS[verb](UserAssistant(local, users, "anna"))) as items:
        await anext(items)
        assert (running(users), current_request()) == (1, UNCOUNTED)
        with pytest.raises(
            QueueFullError, match="anna already has 1 requests that run or wait, the limit of user_requests"
        ):
            await anext(VERBS[verb](UserAssistant(local, users, "anna")))
        assert len(await consume(VERBS[verb](UserAssistant(local, users, "ben")))) > 1
        assert running(users) == 1
        await consume(items)

    totals = users.totals("anna")
    assert (running(users), totals.requests, totals.refused) == (0, 1, 1)
    assert (totals.prompt > 0, totals.generated) == (True, 0 if verb == "score" else 4)


@pytest.mark.parametrize("verb", VERBS)
async def test_a_finish_has_the_count(local: LocalAssistant, verb: str) -> None:
    """A user's count after an answer is the usage in the Finish."""
    users = Users()
    finish = (await consume(VERBS[verb](UserAssistant(local, users, "anna"))))[-1]

    assert isinstance(finish, Finish)
    totals, usage = users.totals("anna"), finish.usage
    assert (totals.cached, totals.computed, totals.generated) == (usage.cached, usage.computed, usage.generated)


@pytest.mark.parametrize("verb", VERBS)
async def test_closed_from_another_task(local: LocalAssistant, verb: str) -> None:
    """A stream closed by a different task frees the place."""
    users = Users(UserLimits(requests=1))
    stream = VERBS[verb](UserAssistant(local, users, "anna"))

    async def close() -> None:
        await stream.aclose()

    await anext(stream)
    await asyncio.create_task(close())
    assert running(users) == 0
    assert await consume(VERBS[verb](UserAssistant(local, users, "anna")))


@pytest.mark.parametrize("verb", ["complete", "chat"])
async def test_interleaved(local: LocalAssistant, verb: str) -> None:
    """Two users' streams, read in turns by a task, count for their own users."""
    users = Users()
    anna, ben = (VERBS[verb](UserAssistant(local, users, user)) for user in ("anna", "ben"))
    await anext(anna)
    await anext(ben)
    await anext(anna)
    await ben.aclose()
    assert (running(users, "anna"), running(users, "ben")) == (1, 0)
    await consume(anna)

    assert (users.totals("anna").generated, users.totals("anna").requests, users.totals("ben").requests) == (4, 1, 1)
    assert 1 <= users.totals("ben").generated <= 4
    assert current_request() is UNCOUNTED


async def test_one_request(local: LocalAssistant) -> None:
    """The streams of an action are a single request with a single place, answered to the end."""
    users = Users(UserLimits(requests=1, tokens_per_minute=1), clock=lambda: 1000.0)
    action = UserAssistant(local, users, "anna")
    first = VERBS["chat"](action)
    await anext(first)
    await asyncio.gather(*(consume(VERBS[verb](action)) for verb in VERBS))
    assert running(users) == 1
    await first.aclose()
    assert running(users) == 0

    await consume(VERBS["score"](action))
    assert (users.totals("anna").requests, users.totals("anna").refused, running(users)) == (1, 0, 0)
    with pytest.raises(QueueFullError, match="anna has used 1 tokens within a minute"):
        await consume(VERBS["score"](UserAssistant(local, users, "anna")))


async def test_bad_input(local: LocalAssistant) -> None:
    """A refused query frees the place."""
    users = Users(UserLimits(requests=1))
    with pytest.raises(InvalidRequestError, match="nothing to score"):
        await consume(UserAssistant(local, users, "anna").score(ScoreQuery("")))
    assert running(users) == 0
