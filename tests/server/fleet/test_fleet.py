"""A fleet over replicas with our engine answers like our engine, even if replicas fail."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from itertools import cycle
from math import exp
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.port import Engine
from pellucid.engine.request import Admission, Request
from pellucid.engine.token_mask import TokenMask, pack_ids
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import (
    ContextLengthError,
    InvalidRequestError,
    NotFoundError,
    NotSupportedError,
    QueueFullError,
    UnavailableError,
)
from pellucid.fleet.hang_detection import HangDetector
from pellucid.fleet.replicas import MAX_MOVES, by_affinity
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.text.healing import Healer
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import COMPLETION, SamplingParams, Terms
from support.fleet.fleet_servers import CONTEXT, fleet_of, replica_of, until
from support.fleet.stand_in_replica import Fault, StandInReplica
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_models import tiny_llama, to_decoder
from support.servers.http_servers import TINY, byte_tokenizer
from support.trial_counts import trial_count

VOCAB = 320
PROMPT = list(b"def add(a, b):\n    return a + ")
PARAMS = SamplingParams(max_tokens=24, top_logprobs=3)


async def answer(engine: Engine, request: Request) -> tuple[list[TokenScore], Finish]:
    """Return the scores and the finish of a request."""
    scores, items = [], []
    async with aclosing(engine.generate(TINY, request)) as found:
        async for item in found:
            items.append(item)
            if isinstance(item, TokenScore):
                scores.append(item)
    assert isinstance(items[0], Admission)
    assert isinstance(items[-1], Finish)
    return scores, items[-1]


def ids(scores: Sequence[TokenScore]) -> list[int]:
    return [score.id for score in scores]


def assert_same(near: Sequence[TokenScore], far: Sequence[TokenScore]) -> None:
    """Assert that the fleet's scores equal our engine's, except for entropies within ranges."""
    assert ids(far) == ids(near)
    for one, other in zip(near, far, strict=True):
        assert other.position == one.position
        assert other.rank == one.rank
        assert other.entropy is None
        if one.logprob is None or one.entropy is None:
            assert other.entropy_range is None
            continue
        assert other.logprob == pytest.approx(one.logprob, abs=1e-5)
        assert other.rest == pytest.approx(one.rest, abs=1e-5)
        assert other.allowed == one.allowed == 1.0
        assert [id for id, _ in other.top] == [id for id, _ in one.top]
        assert [logprob for _, logprob in other.top] == pytest.approx([logprob for _, logprob in one.top], abs=1e-5)
        assert other.entropy_range is not None
        least, most = other.entropy_range
        assert least - 1e-4 <= one.entropy <= most + 1e-4


REQUESTS = {
    "greedy": Request(PROMPT, PARAMS),
    "a stop id": Request(PROMPT, PARAMS, stop_ids=frozenset(range(0, 262, 7))),
    "the end ignored": Request(PROMPT, replace(PARAMS, ignore_eos=True), stop_ids=frozenset(range(0, 262, 2))),
    "biased": Request(PROMPT, replace(PARAMS, logit_bias={65: 20.0, 66: 19.0})),
    "repetition penalty": Request(PROMPT, replace(PARAMS, repetition_penalty=1.3)),
    "presence penalty": Request(PROMPT, replace(PARAMS, presence_penalty=1.5, frequency_penalty=0.5)),
    "read": Request(PROMPT, replace(PARAMS, max_tokens=0), score_from=0),
    "read from the middle": Request(PROMPT, replace(PARAMS, max_tokens=0), score_from=9),
    "read and continued": Request(PROMPT, PARAMS, score_from=5),
    "no alternatives": Request(PROMPT, replace(PARAMS, top_logprobs=0)),
}


@pytest.mark.parametrize(("name", "chunk"), list(zip(REQUESTS, cycle([1, 5]))))
async def test_the_same_answer_as_our_own_engine(engine: LocalEngine, name: str, chunk: int) -> None:
    """Ids, scores, alternatives and the end equal our engine's, for any chunk size."""
    near, end = await answer(engine, REQUESTS[name])
    async with fleet_of([replica_of(engine, chunk)]) as standing:
        far, other_end = await answer(standing.fleet, REQUESTS[name])
    assert_same(near, far)
    assert other_end.reason is end.reason
    assert (other_end.usage.prompt, other_end.usage.generated) == (end.usage.prompt, end.usage.generated)
    assert all(score.sampled == 1.0 for score in far if score.position >= len(PROMPT))


async def test_a_prompt_for_the_cache(engine: LocalEngine) -> None:
    """A prompt for the cache requests no scores, which would make vLLM compute cached tokens."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        ends = [(await answer(standing.fleet, Request(PROMPT, replace(PARAMS, max_tokens=0)))) for _ in range(2)]
    assert [scores for scores, _ in ends] == [[], []]
    assert [end.usage.generated for _, end in ends] == [0, 0]
    assert ends[1][1].usage.cached >= len(PROMPT) - 1
    assert not any("prompt_logprobs" in body["sampling_params"] for body in replica.bodies)


async def test_cache_salts(engine: LocalEngine) -> None:
    """Salts reach the engine and separate the caches; a request without a salt sends no field."""
    replica = replica_of(engine)
    prompt = [*PROMPT, *b"salted"]
    read = replace(PARAMS, max_tokens=0)
    async with fleet_of([replica]) as standing:
        ends = [
            await answer(standing.fleet, Request(prompt, PARAMS, cache_salt=salt))
            for salt in ("anna", "ben", "", "anna")
        ]
        await answer(standing.fleet, Request(prompt, read, score_from=0, cache_salt="ben"))
    salts = [body.get("cache_salt") for body in replica.bodies if body["token_ids"] == prompt]
    assert salts == ["anna", "ben", None, "anna", "ben"]
    assert [end.usage.cached >= len(PROMPT) + 1 for _, end in ends] == [False, False, False, True]


@pytest.mark.parametrize("name", ["read and continued", "no alternatives"])
async def test_an_engine_that_reports_the_entropy(engine: LocalEngine, name: str) -> None:
    """With the plugin the entropy is exact, and ranks and alternatives stay the same."""
    near, _ = await answer(engine, REQUESTS[name])
    replica = replica_of(engine)
    replica.reports_entropy = True
    async with fleet_of([replica]) as standing:
        far, _ = await answer(standing.fleet, REQUESTS[name])
    assert all(score.entropy_range is None for score in far)
    assert [score.entropy for score in far] == pytest.approx([score.entropy for score in near], abs=1e-5)
    assert [(one.id, one.rank, [id for id, _ in one.top]) for one in far] == [
        (one.id, one.rank, [id for id, _ in one.top]) for one in near
    ]


async def test_a_seed_gives_the_same_answer_each_time(engine: LocalEngine) -> None:
    """Draws with a seed are repeatable; an unknown draw probability is None."""
    request = Request(PROMPT, replace(PARAMS, temperature=1.0, seed=7))
    async with fleet_of([replica_of(engine)]) as standing:
        first, _ = await answer(standing.fleet, request)
        second, _ = await answer(standing.fleet, request)
        known, _ = await answer(standing.fleet, replace(request, params=replace(request.params, top_k=4)))
    assert ids(first) == ids(second)
    assert {score.sampled for score in first} == {None}
    assert all(score.sampled is not None for score in known)


async def test_healing(tmp_path: Path) -> None:
    """A prompt with a cut token is healed like in our engine, with only allowed alternatives."""
    tokenizer = read_tokenizer(write_folder(tmp_path, byte_level_bpe(VOCAB)), VOCAB)
    decoder = to_decoder(tiny_llama(vocab_size=VOCAB, max_position_embeddings=2048))
    engine = LocalEngine({TINY: decoder}, EngineSettings(slots=8, context=CONTEXT, chunk=64))
    replica = StandInReplica(engine, {TINY: tokenizer})

    def request() -> Request:
        left, healing = Healer(tokenizer).heal(tokenizer.encode("def add(a, b):\n    retu"))
        assert healing is not None
        return Request(left, PARAMS, constraint=healing)

    near, _ = await answer(engine, request())
    async with fleet_of([replica], tokenizer=tokenizer) as standing:
        far, _ = await answer(standing.fleet, request())
    engine.close()
    assert ids(far) == ids(near)
    assert any("allowed_token_ids" in body["sampling_params"] for body in replica.bodies)
    assert any(score.allowed < 1 for score in near)
    for one, other in zip(near, far, strict=True):
        known = {id for id, _ in other.top}
        assert known <= {id for id, _ in one.top}
        assert other.allowed >= one.allowed - 1e-5
        missing = sum(exp(logprob) for id, logprob in one.top if id not in known)
        assert missing <= other.allowed - sum(exp(logprob) for _, logprob in other.top) + 1e-5


class EvenOnly:
    """Allows only even ids, like a grammar: refused tokens are still shown."""

    hides_refused = False

    def __init__(self) -> None:
        self.taken: list[int] = []

    def allowed(self) -> TokenMask:
        return pack_ids(range(0, byte_tokenizer().vocab_size, 2), byte_tokenizer().vocab_size)

    def forced(self) -> list[int]:
        return []

    def advance(self, id: int) -> None:
        self.taken.append(id)


async def test_a_grammar(engine: LocalEngine) -> None:
    """A refused token is replaced by an allowed token, and the scores stay the model's scores."""
    near, _ = await answer(engine, Request(PROMPT, PARAMS, constraint=EvenOnly()))
    constraint, replica = EvenOnly(), replica_of(engine, chunk=3)
    async with fleet_of([replica]) as standing:
        far, _ = await answer(standing.fleet, Request(PROMPT, PARAMS, constraint=constraint))
    assert_same(near, far)
    assert constraint.taken == ids(far)
    assert [score.grammar.allowed for score in far if score.grammar] == [
        score.grammar.allowed for score in near if score.grammar
    ]
    named = [body for body in replica.bodies if "allowed_token_ids" in body["sampling_params"]]
    assert 0 < len(named) < len(far)
    assert all(body["sampling_params"]["max_tokens"] == 1 for body in named)
    assert not any("structured_outputs" in body["sampling_params"] for body in replica.bodies)


FAULTS = st.lists(
    st.builds(
        Fault,
        st.sampled_from(["cut", "error event", "garbage", "status"]),
        st.integers(0, 23),
        st.sampled_from([500, 502]),
    ),
    max_size=MAX_MOVES,
)


@settings(max_examples=trial_count(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    faults=FAULTS,
    chunk=st.integers(1, 4),
    name=st.sampled_from(["greedy", "biased", "a stop id", "read and continued"]),
)
async def test_any_cut_gives_the_ids_of_no_cut(engine: LocalEngine, faults: list[Fault], chunk: int, name: str) -> None:
    """Failing replicas change only the usage of an answer, for any place and kind of failure."""
    request = REQUESTS[name]
    near, end = await answer(engine, request)
    broken = [replica_of(engine, chunk) for _ in range(MAX_MOVES + 1)]
    async with fleet_of(broken) as standing:
        pending = deque(faults)
        for replica in broken:
            replica.faults = pending  # The next answer fails, from any replica.
        far, other_end = await answer(standing.fleet, request)
    assert_same(near, far)
    assert other_end.reason is end.reason
    assert other_end.usage.moves == sum(len(replica.fired) for replica in broken)
    assert other_end.usage.generated == end.usage.generated


async def test_a_lost_replica_gets_no_new_requests(engine: LocalEngine) -> None:
    """An unhealthy replica with a broken answer takes no part until the next join."""
    replicas = [replica_of(engine), replica_of(engine)]
    async with fleet_of(replicas) as standing:
        shared = deque([Fault("cut", 3)])
        for replica in replicas:
            replica.faults, replica.is_well = shared, False
        _, end = await answer(standing.fleet, Request(PROMPT, PARAMS, session="an editor"))
        assert (end.reason, end.usage.moves) == (FinishReason.LENGTH, 1)
        (lost,) = [one for one in standing.fleet.replicas.values() if not one.takes_part]
        assert "broke off" in str(lost.problem)
        assert standing.fleet.replicas.lost == {lost.url: 1}
        await standing.check.join(lost)
        assert lost.takes_part


async def test_a_router_with_other_engines_behind_it(engine: LocalEngine) -> None:
    """A healthy address is asked again under a new session, so a router changes engines."""
    router = replica_of(engine)
    async with fleet_of([router]) as standing:
        router.faults = deque([Fault("cut", 3)])
        scores, end = await answer(standing.fleet, Request(PROMPT, PARAMS, session="an editor"))
    assert (end.reason, end.usage.moves, len(scores)) == (FinishReason.LENGTH, 1, PARAMS.max_tokens)
    assert router.sessions == ["an editor", "an editor-1"]


async def test_requests_that_wait_for_a_lost_replica(engine: LocalEngine) -> None:
    """Requests in a lost replica's queue are served by a healthy replica at once."""
    lost, other = replica_of(engine), replica_of(engine)
    is_lost = Event()

    async def hang(_: int) -> None:
        while not is_lost.is_set():
            await asyncio.sleep(0.01)

    async def break_off(sent: int) -> None:
        await hang(sent)
        raise ConnectionError("the replica was killed")

    async with fleet_of([lost, other], slots=1) as standing:
        undisturbed, _ = await answer(standing.fleet, Request(PROMPT, PARAMS))
        lost.bodies.clear()
        other.bodies.clear()
        lost.before_token, other.before_token = break_off, hang
        url = next(iter(standing.fleet.replicas))
        sessions = [
            name
            for name in (f"editor {number}" for number in range(100))
            if by_affinity(name, standing.fleet.replicas)[0] == url
        ]
        tasks = [
            asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS, session=name))) for name in sessions[:8]
        ]
        await until(lambda: standing.fleet.status(TINY).waiting == 6 and len(lost.bodies) + len(other.bodies) == 2)
        assert standing.fleet.replicas[url].gate.waiting == 6
        lost.is_well = False
        is_lost.set()
        ends = await asyncio.gather(*tasks)
    assert len(lost.bodies) == 1
    assert [ids(scores) for scores, _ in ends] == [ids(undisturbed)] * 8
    assert sorted(end.usage.moves for _, end in ends) == [0] * 7 + [1]


class HangingReader(StandInReplica):
    """Answers no request to read a prompt while `hangs` is true."""

    hangs = False

    async def _read(self, model: str, ids: Sequence[int], sampling: dict[str, Any]) -> Response:
        if self.hangs:
            await forever()
        return await super()._read(model, ids, sampling)


async def test_a_replica_that_hangs(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica without tokens is taken out, and a healthy replica continues the answers."""
    monkeypatch.setattr(HangDetector, "schedule", lambda _: None)  # The ticks come from the test.
    hung, other = replica_of(engine), replica_of(engine)
    async with fleet_of([hung, other]) as standing:
        undisturbed, _ = await answer(standing.fleet, Request(PROMPT, PARAMS))
        hung.bodies.clear()
        hung.before_token = lambda sent: forever() if sent == 4 else ready()
        one = next(iter(standing.fleet.replicas.values()))
        names = [
            name
            for name in (f"editor {number}" for number in range(100))
            if by_affinity(name, standing.fleet.replicas)[0] == one.url
        ]
        requests = [Request(PROMPT, PARAMS, session=name) for name in names[:3]]
        tasks = [asyncio.create_task(answer(standing.fleet, request)) for request in requests]
        await until(lambda: sum(len(run.answer) for run in standing.fleet._running) == 3 * 4)
        for _ in range(19):
            one.hang.tick()
        await asyncio.sleep(0.01)
        assert one.takes_part
        one.hang.tick()
        for scores, end in await asyncio.gather(*tasks):
            assert (ids(scores), end.reason, end.usage.moves) == (ids(undisturbed), FinishReason.LENGTH, 1)
        assert one.problem == f"{one.url} hangs: none of its requests got a token in 20 seconds."
        assert (standing.fleet.replicas.lost[one.url], len(hung.bodies)) == (3, 3)


async def test_a_replica_that_hangs_as_it_reads(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text is read by a second replica if the first replica hangs."""
    monkeypatch.setattr(HangDetector, "schedule", lambda _: None)
    near, _ = await answer(engine, REQUESTS["read"])
    hung = HangingReader(engine, {TINY: byte_tokenizer()})
    async with fleet_of([hung, replica_of(engine)]) as standing:
        one = next(iter(standing.fleet.replicas.values()))
        name = next(name for name in map(str, range(100)) if by_affinity(name, standing.fleet.replicas)[0] == one.url)
        hung.hangs = True
        task = asyncio.create_task(answer(standing.fleet, replace(REQUESTS["read"], session=name)))
        await until(lambda: len(hung.bodies) == 1)
        for _ in range(20):
            one.hang.tick()
        far, end = await task
    assert_same(near, far)
    assert end.usage.moves == 1


async def test_a_refusal_in_a_stream(engine: LocalEngine) -> None:
    """A refusal at the start of a stream loses no engine; a refusal later is a failure."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        replica.faults = deque([Fault("refusal"), Fault("refusal", 3)])
        with pytest.raises(InvalidRequestError, match=r"refuses the request: min_p is not supported"):
            await answer(standing.fleet, Request(PROMPT, PARAMS))
        assert (standing.problems, standing.fleet.replicas.lost.total(), len(replica.fired)) == ([None], 0, 1)
        _, end = await answer(standing.fleet, Request(PROMPT, PARAMS))
    assert (end.reason, end.usage.moves) == (FinishReason.LENGTH, 1)


async def test_a_router_that_has_not_noticed_a_loss(engine: LocalEngine) -> None:
    """After two failures an address is asked again after a pause, if not superseded."""
    router = replica_of(engine)
    failures = [Fault("status", status=500)] * 2
    async with fleet_of([router]) as standing:
        router.faults = deque(failures)
        _, end = await answer(standing.fleet, Request(PROMPT, PARAMS))
        assert (end.reason, end.usage.moves) == (FinishReason.LENGTH, 2)
    async with fleet_of([router], patience=6000.0) as standing:
        router.faults = deque(failures)
        lost = asyncio.create_task(
            answer(standing.fleet, Request(PROMPT, PARAMS, terms=Terms(key="editor"), session="lost"))
        )
        while standing.fleet.replicas.lost.total() < 2:
            await asyncio.sleep(0.01)
        newer, _ = await answer(standing.fleet, Request(PROMPT, PARAMS, terms=Terms(key="editor"), session="newer"))
        assert (await lost)[1].reason is FinishReason.SUPERSEDED
    assert len(newer) == PARAMS.max_tokens
    assert router.sessions == ["lost", "lost-1", "newer"]


async def test_the_last_replica_is_lost(engine: LocalEngine) -> None:
    """Without a replica to resume, an answer keeps the tokens so far and ends with the reason."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        replica.faults, replica.is_well = deque([Fault("cut", 3)]), False
        scores, end = await answer(standing.fleet, Request(PROMPT, PARAMS))
    assert (end.reason, len(scores)) == (FinishReason.ERROR, 3)
    assert "No engine serves tiny now" in str(end.error)


async def test_the_last_replica_is_soon_back(engine: LocalEngine) -> None:
    """Lost answers and new requests wait until the last replica is back."""
    replica = replica_of(engine)
    async with fleet_of([replica], patience=600.0) as standing:
        undisturbed, _ = await answer(standing.fleet, Request(PROMPT, PARAMS))
        replica.faults, replica.is_well = deque([Fault("cut", 3)]), False
        lost = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS)))
        (one,) = standing.fleet.replicas.values()
        while one.takes_part:
            await asyncio.sleep(0.01)
        later = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS)))
        superseded = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS, terms=Terms(key="editor"))))
        newer = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS, terms=Terms(key="editor"))))
        assert (await superseded)[1].reason is FinishReason.SUPERSEDED
        replica.is_well = True
        await standing.members.update()
        for task, moves in ((lost, 1), (later, 0), (newer, 0)):
            scores, end = await task
            assert (ids(scores), end.reason, end.usage.moves) == (ids(undisturbed), FinishReason.LENGTH, moves)


async def test_too_many_moves(engine: LocalEngine) -> None:
    """After three moves a failure ends the answer with an error, and the tokens so far are kept."""
    replicas = [replica_of(engine) for _ in range(MAX_MOVES + 2)]
    async with fleet_of(replicas) as standing:
        faults = deque([Fault("cut", 2)] * (MAX_MOVES + 1))
        for replica in replicas:
            replica.faults = faults
        scores, end = await answer(standing.fleet, Request(PROMPT, PARAMS))
    assert (end.reason, end.usage.moves, len(scores)) == (FinishReason.ERROR, MAX_MOVES + 1, 2 * (MAX_MOVES + 1))
    assert "failed 4 times" in str(end.error)


async def test_penalties_are_not_resumed(engine: LocalEngine) -> None:
    """An answer with penalties is not resumed, since the count of tokens would be lost."""
    replicas = [replica_of(engine), replica_of(engine)]
    async with fleet_of(replicas) as standing:
        for replica in replicas:
            replica.faults = deque([Fault("cut", 4)])
        _, end = await answer(standing.fleet, REQUESTS["presence penalty"])
    assert end.reason is FinishReason.ERROR
    assert "cannot be resumed" in str(end.error)


async def test_requests_before_the_first_replica(engine: LocalEngine) -> None:
    """Requests wait for the first replica, like after the loss of the last replica."""
    replica = replica_of(engine)
    replica.tokenizers, tokenizers = {}, replica.tokenizers
    async with fleet_of([replica], patience=600.0) as standing:
        early = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS)))
        await asyncio.sleep(0.05)
        assert not early.done()
        replica.tokenizers = tokenizers
        await standing.members.update()
        assert (await early)[1].reason is FinishReason.LENGTH


async def test_no_replica(engine: LocalEngine) -> None:
    """Without any replica the error names each address and the reason."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        (url,) = standing.fleet.replicas
        replica.faults, replica.is_well = deque([Fault("status", status=500)]), False
        with pytest.raises(UnavailableError, match=rf"No engine serves tiny now. {url}: .*failed \(500\)"):
            await answer(standing.fleet, Request(PROMPT, PARAMS))


async def test_a_busy_replica(engine: LocalEngine) -> None:
    """A busy replica is passed over; if all are busy, the request may be tried again later."""
    replicas = [replica_of(engine), replica_of(engine)]
    async with fleet_of(replicas) as standing:
        shared = deque([Fault("status", status=429)])
        for replica in replicas:
            replica.faults = shared
        _, end = await answer(standing.fleet, Request(PROMPT, PARAMS))
        assert (end.reason, end.usage.moves) == (FinishReason.LENGTH, 0)
        shared.extend([Fault("status", status=503)] * 2)
        with pytest.raises(QueueFullError, match="busy"):
            await answer(standing.fleet, Request(PROMPT, PARAMS))
        assert standing.problems == [None, None]


async def test_an_error_of_the_request(engine: LocalEngine) -> None:
    """A replica that refuses a wrong request is not lost, and the user gets the message."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        replica.faults = deque([Fault("status", status=400)])
        with pytest.raises(InvalidRequestError, match="EngineCore encountered an issue"):
            await answer(standing.fleet, Request(PROMPT, PARAMS))
        assert standing.problems == [None]


async def test_a_session_keeps_its_replica(engine: LocalEngine) -> None:
    """A session's requests go to the same replica with the name; sessions are spread."""
    replicas = [replica_of(engine), replica_of(engine)]
    async with fleet_of(replicas) as standing:
        for _ in range(4):
            await answer(standing.fleet, Request(PROMPT, replace(PARAMS, max_tokens=1), session="an editor"))
        assert sorted(len(replica.bodies) for replica in replicas) == [0, 4]
        assert {session for replica in replicas for session in replica.sessions} == {"an editor"}
        for number in range(12):
            await answer(standing.fleet, Request(PROMPT, replace(PARAMS, max_tokens=1), session=f"editor {number}"))
        assert all(len(replica.bodies) > 1 for replica in replicas)


async def test_closing_cancels(engine: LocalEngine) -> None:
    """Closing the generator ends the replica's answer, and frees the slot."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        replica.before_token = lambda sent: forever() if sent == 2 else ready()
        async with aclosing(standing.fleet.generate(TINY, Request(PROMPT, PARAMS))) as items:
            async for item in items:
                if isinstance(item, TokenScore):
                    break
        await until(lambda: replica.running == 0)
        assert standing.fleet.status(TINY).running == 0


async def test_superseding(engine: LocalEngine) -> None:
    """A newer request of the same key ends the older request at once."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        replica.before_token = lambda sent: forever() if sent == 2 and len(replica.bodies) == 1 else ready()
        terms = replace(COMPLETION, key="editor")
        older = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS, terms)))
        await until(lambda: replica.running == 1)
        _, newer_end = await answer(standing.fleet, Request(PROMPT, PARAMS, terms))
        scores, end = await older
    assert (end.reason, newer_end.reason) == (FinishReason.SUPERSEDED, FinishReason.LENGTH)
    assert len(scores) <= 2


async def test_a_deadline(engine: LocalEngine) -> None:
    """A deadline ends a running and a waiting answer."""
    replica = replica_of(engine)
    async with fleet_of([replica], slots=1) as standing:
        replica.before_token = lambda sent: forever() if sent == 2 else ready()
        terms = replace(COMPLETION, deadline=0.3)
        running, waiting = await asyncio.gather(
            *(answer(standing.fleet, Request(PROMPT, PARAMS, terms)) for _ in range(2))
        )
    assert [end.reason for _, end in (running, waiting)] == [FinishReason.DEADLINE] * 2
    assert waiting[0] == []


async def test_leaving(engine: LocalEngine) -> None:
    """A closed fleet cancels the answers, and takes no new requests."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        replica.before_token = lambda sent: forever() if sent == 2 else ready()
        running = asyncio.create_task(answer(standing.fleet, Request(PROMPT, PARAMS)))
        await until(lambda: replica.running == 1)
        standing.fleet.close()
        _, end = await running
        assert end.reason is FinishReason.CANCELLED
        with pytest.raises(UnavailableError, match="shutting down"):
            await answer(standing.fleet, Request(PROMPT, PARAMS))


async def test_wrong_requests(engine: LocalEngine) -> None:
    """Impossible requests are refused before any replica is asked."""
    replica = replica_of(engine)
    async with fleet_of([replica]) as standing:
        fleet = standing.fleet
        for request, error in (
            (Request([], PARAMS), InvalidRequestError),
            (Request([9999], PARAMS), InvalidRequestError),
            (Request([1] * 5000, PARAMS), ContextLengthError),
            (Request(PROMPT, PARAMS, score_from=99), InvalidRequestError),
            (Request(PROMPT, replace(PARAMS, temperature=3.0)), InvalidRequestError),
            (Request(PROMPT, replace(PARAMS, presence_penalty=1.0), constraint=EvenOnly()), InvalidRequestError),
        ):
            with pytest.raises(error):
                await answer(fleet, request)
        with pytest.raises(NotFoundError):
            await anext(fleet.generate("another", Request(PROMPT, PARAMS)))
        with pytest.raises(NotSupportedError, match="no embeddings"):
            fleet.hidden_size(TINY)
        assert replica.bodies == []


async def forever() -> None:
    await asyncio.sleep(60)


async def ready() -> None:
    pass
