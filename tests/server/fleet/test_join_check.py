"""The check of an engine before the engine takes part."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from pellucid.engine.local_engine import LocalEngine
from pellucid.fleet.admission import Gate
from pellucid.fleet.join_check import PROBE, JoinCheck
from pellucid.fleet.replica import Replica
from support.fleet.fleet_servers import fleet_of, replica_of
from support.fleet.stand_in_replica import Fault, StandInReplica
from support.servers.http_servers import TINY, byte_tokenizer


class ShoutingTokenizer:
    """Encodes capital letters only."""

    vocab_size = byte_tokenizer().vocab_size

    def encode(self, text: str) -> list[int]:
        return list(text.upper().encode())


async def problem_of(replica: StandInReplica, key: str | None = None) -> str | None:
    """Return the problem of a replica in a fleet of only this replica."""
    async with fleet_of([replica], key=key) as standing:
        return standing.problems[0]


async def test_replicas_with_the_same_weights(engine: LocalEngine, other: LocalEngine) -> None:
    """Replicas of a model take part, and other weights have another revision."""
    async with fleet_of([replica_of(engine), replica_of(engine)]) as standing:
        assert standing.problems == [None, None]
        assert {replica.version for replica in standing.fleet.replicas.values()} == {"0.32.0"}
        revision = standing.check.revision(TINY)
    async with fleet_of([replica_of(other)]) as standing:
        assert standing.check.revision(TINY) not in (None, revision)


async def test_other_weights(engine: LocalEngine, other: LocalEngine) -> None:
    """The second of two replicas with different weights is left out, with the remedy."""
    async with fleet_of([replica_of(engine), replica_of(other)]) as standing:
        first, second = standing.problems
    assert first is None
    assert "Its logprobs of tiny differ by up to" in str(second)
    assert "--dtype" in str(second)


async def test_the_majority_decides(engine: LocalEngine, other: LocalEngine) -> None:
    """The first replica is taken out once two later replicas agree on different weights."""
    wrong, *right = [replica_of(other), replica_of(engine), replica_of(engine)]
    for replica in right:
        replica.tokenizers = {}  # Both are still starting.
    async with fleet_of([wrong, *right]) as standing:
        assert [problem is None for problem in standing.problems] == [True, False, False]
        first_revision = standing.check.revision(TINY)
        for replica in right:
            replica.tokenizers = {TINY: byte_tokenizer()}
        for _ in range(2):
            await standing.members.update()
        assert [problem is None for problem in standing.problems] == [False, True, True]
        assert "from those of 2 of 3 engines: use the same weights and --dtype." in str(standing.problems[0])
        assert standing.check.revision(TINY) != first_revision
        assert standing.fleet.context(TINY) == right[0].context - 1


async def test_the_first_one_listed_decides_between_two(engine: LocalEngine, other: LocalEngine) -> None:
    """Without a majority, the weights of the first listed replica are right."""
    right, wrong = replica_of(engine), replica_of(other)
    right.tokenizers = {}  # This replica is still starting.
    async with fleet_of([right, wrong]) as standing:
        assert [problem is None for problem in standing.problems] == [False, True]
        right.tokenizers = {TINY: byte_tokenizer()}
        await standing.members.update()
        assert [problem is None for problem in standing.problems] == [True, False]
        first = next(iter(standing.fleet.replicas))
        assert (
            f"from those of {first}, which is listed first: use the same weights and --dtype, or list a right "
            "engine first."
        ) in str(standing.problems[1])


async def test_a_lost_replica_still_votes(engine: LocalEngine, other: LocalEngine) -> None:
    """A lost replica still counts for the majority against a wrong replica."""
    replicas = [replica_of(other), replica_of(engine), replica_of(engine)]
    async with fleet_of(replicas) as standing:
        await standing.members.update()
        replicas[2].faults = deque([Fault("status", status=500)] * 10)
        lost = [*standing.fleet.replicas.values()][2]
        lost.take_out("It was lost.")
        await standing.members.update()
        assert [problem is None for problem in standing.problems] == [False, True, False]
        assert "differ" in str(standing.problems[0])


async def test_a_wrong_replica_does_not_vote(engine: LocalEngine, other: LocalEngine) -> None:
    """Replicas with the wrong tokenizer never count for the majority."""
    wrong = [replica_of(engine), replica_of(engine)]
    for replica in wrong:
        replica.tokenizers = {TINY: ShoutingTokenizer()}  # type: ignore[dict-item]
    async with fleet_of([*wrong, replica_of(other)]) as standing:
        assert [problem is None for problem in standing.problems] == [False, False, True]
    replicas = [replica_of(other), replica_of(engine)]
    async with fleet_of(replicas) as standing:
        assert [problem is None for problem in standing.problems] == [True, False]
        replicas[0].tokenizers = {TINY: ShoutingTokenizer()}  # type: ignore[dict-item]
        await standing.check.join(next(iter(standing.fleet.replicas.values())))
        await standing.members.update()
        assert [problem is None for problem in standing.problems] == [False, True]


async def test_a_log_names_a_problem_once(
    engine: LocalEngine, caplog: pytest.LogCaptureFixture, other: LocalEngine
) -> None:
    """A replica with the same problem in every check has a single line in the log."""
    async with fleet_of([replica_of(engine), replica_of(other)]) as standing:
        for _ in range(3):
            await standing.members.update()
    assert len([record for record in caplog.records if "takes no part: Its logprobs" in record.getMessage()]) == 1


async def test_another_dtype(engine: LocalEngine) -> None:
    """Logprobs off by another dtype's error leave a replica out; rounding errors do not."""
    rounded, other = replica_of(engine), replica_of(engine)
    rounded.shift, other.shift = 1e-4, 1e-2
    async with fleet_of([replica_of(engine), rounded, other]) as standing:
        assert [problem is None for problem in standing.problems] == [True, True, False]


async def test_another_tokenizer(engine: LocalEngine) -> None:
    """A replica with another tokenizer is left out."""
    replica = replica_of(engine)
    replica.tokenizers = {TINY: ShoutingTokenizer()}  # type: ignore[dict-item]
    assert "Its tokenizer of tiny is not that of the folder given by --model" in str(await problem_of(replica))


async def test_another_model(engine: LocalEngine) -> None:
    """A replica with another model is left out, with the names of both models."""
    replica = replica_of(engine)
    replica.tokenizers = {"llama": byte_tokenizer()}
    problem = await problem_of(replica)
    assert problem == "It serves llama, and not tiny: see --served-model-name."


@pytest.mark.parametrize("context", [-5, 1, True])
async def test_a_context_that_cannot_be(engine: LocalEngine, context: int) -> None:
    """A replica with an impossible context is left out."""
    replica = replica_of(engine)
    replica.context = context
    assert await problem_of(replica) is not None


async def test_a_key(engine: LocalEngine) -> None:
    """A replica with a key takes part only with the same key in the settings."""
    replica = replica_of(engine)
    replica.key = "secret"
    assert await problem_of(replica, "secret") is None
    assert "set engine_key" in str(await problem_of(replica, "wrong"))
    assert "set engine_key" in str(await problem_of(replica))


async def test_a_failing_engine(engine: LocalEngine) -> None:
    """A replica with a failing engine is left out, and joins after recovery."""
    replica = replica_of(engine)
    replica.faults = deque([Fault("error event")])
    async with fleet_of([replica]) as standing:
        assert "EngineCore encountered an issue" in str(standing.problems[0])
        (one,) = standing.fleet.replicas.values()
        await standing.check.join(one)
        assert one.takes_part


async def test_a_busy_engine_keeps_its_place(engine: LocalEngine) -> None:
    """A checked replica takes part while busy; an unchecked busy replica has to wait."""
    replica = replica_of(engine)
    replica.faults = deque([Fault("status", status=429)])
    async with fleet_of([replica]) as standing:
        assert "takes no more requests" in str(standing.problems[0])
        (one,) = standing.fleet.replicas.values()
        await standing.check.join(one)
        assert one.takes_part
        replica.faults = deque([Fault("status", status=429), Fault("status", status=500)])
        await standing.check.join(one)
        await standing.check.join(one)
        assert one.takes_part
        assert not replica.faults


async def test_no_server() -> None:
    """An address without a server is left out, with the address."""
    replica = Replica("http://127.0.0.1:9", Gate(1, 1))
    await JoinCheck({TINY: byte_tokenizer().encode(PROBE)}, {TINY: byte_tokenizer().vocab_size}).join(replica)
    assert str(replica.problem).startswith("http://127.0.0.1:9 does not answer")
    await replica.close()


class OtherServer(StandInReplica):
    """A server with another form of replies."""

    reply: Any = None

    async def _version(self, _: HttpRequest) -> Response:
        return JSONResponse(self.reply)


@pytest.mark.parametrize("reply", [[], "0.32.0", None])
async def test_a_server_of_another_kind(engine: LocalEngine, reply: object) -> None:
    """A server without vLLM's replies is left out."""
    replica = OtherServer(engine, {TINY: byte_tokenizer()})
    replica.reply = reply
    assert "it is not a vLLM server" in str(await problem_of(replica))


async def test_a_failed_check_is_no_reference(engine: LocalEngine, other: LocalEngine) -> None:
    """A replica with a failed check decides nothing for the next replica."""
    wrong = replica_of(other)
    wrong.faults = deque([Fault("status", status=200), Fault("status", status=500)])
    async with fleet_of([wrong, replica_of(engine)]) as standing:
        assert [problem is None for problem in standing.problems] == [False, True]


async def test_an_engine_that_returns_no_numbers(engine: LocalEngine) -> None:
    """A replica with NaN as logprobs is left out."""
    replica = replica_of(engine)
    replica.shift = math.nan
    assert await problem_of(replica) is not None
