"""Remote engines come and go while a server runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.request import Request
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import ConfigError
from pellucid.fleet import membership
from pellucid.fleet.fleet import Fleet
from pellucid.fleet.join_check import PROBE, JoinCheck
from pellucid.fleet.membership import Membership, ReplicaLimits, engine_url, read_engines
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import SamplingParams
from support.fleet.fleet_servers import CONTEXT, replica_of, until, wait_for_the_test
from support.fleet.stand_in_replica import listening
from support.servers.http_servers import TINY, byte_tokenizer


async def test_engines_come_and_go(engine: LocalEngine, tmp_path: Path) -> None:
    """An added engine joins, and a removed engine is taken out after the last answer."""
    replicas, file, may_continue = [replica_of(engine), replica_of(engine)], tmp_path / "engines", asyncio.Event()
    tokenizer = byte_tokenizer()
    fleet = Fleet({TINY: tokenizer.vocab_size}, CONTEXT)
    with ExitStack() as servers:
        first, second = (servers.enter_context(listening(replica)) for replica in replicas)
        members = Membership(fleet, check_of(tokenizer), ReplicaLimits(4, 4), [first], file)
        await members.update()
        assert list(fleet.replicas) == [first]
        file.write_text(f"# in the other room\n{second}  # a GPU\n")
        await members.update()
        assert [replica.takes_part for replica in members.replicas()] == [True, True]
        replicas[1].before_token = lambda sent: wait_for_the_test(may_continue, sent)
        replicas[0].before_token = replicas[1].before_token
        answers = [asyncio.create_task(answer(fleet, f"session {number}")) for number in range(8)]
        await until(lambda: replicas[1].running > 0)
        file.write_text("")
        await members.update()
        await asyncio.sleep(0.3)
        assert [replica.draining for replica in members.replicas()] == [False, True]
        may_continue.set()
        assert {end.reason for end in await asyncio.gather(*answers)} == {FinishReason.LENGTH}
        await until(lambda: list(fleet.replicas) == [first])
        await fleet.replicas.disconnect()


async def test_an_engine_with_other_weights_after_a_restart(
    engine: LocalEngine, other: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New weights leave an engine out until all engines have the new weights."""
    replicas, tokenizer = [replica_of(engine), replica_of(engine)], byte_tokenizer()
    fleet, check = Fleet({TINY: tokenizer.vocab_size}, CONTEXT), check_of(tokenizer)
    monkeypatch.setattr(membership, "RECHECK_SECONDS", 0.0)
    with ExitStack() as servers:
        urls = [servers.enter_context(listening(replica)) for replica in replicas]
        members = Membership(fleet, check, ReplicaLimits(4, 4), urls)
        await members.update()
        revision = check.revision(TINY)
        replicas[1].engine = other
        await members.update()
        assert [one.takes_part for one in fleet.replicas.values()] == [True, False]
        assert "Its logprobs of tiny differ" in str(fleet.replicas[urls[1]].problem)
        replicas[0].engine = other
        # The checks of two engines end in any order, and the later check may be needed.
        for _ in range(5):
            await members.update()
        assert [one.takes_part for one in fleet.replicas.values()] == [True, True]
        assert check.revision(TINY) != revision
        await members.close()


async def test_an_engine_that_hangs_delays_no_other(engine: LocalEngine, tmp_path: Path) -> None:
    """A hanging check delays neither other engines nor the calls after each update."""
    replicas, file, tokenizer, updates = (
        [replica_of(engine), replica_of(engine)],
        tmp_path / "engines",
        byte_tokenizer(),
        list[None](),
    )
    fleet, may_continue = Fleet({TINY: tokenizer.vocab_size}, CONTEXT), Event()
    replicas[0].before_token = lambda sent: wait_for(may_continue)

    async def note_update() -> None:
        updates.append(None)

    with ExitStack() as servers:
        hung, later = (servers.enter_context(listening(replica)) for replica in replicas)
        members = Membership(fleet, check_of(tokenizer), ReplicaLimits(4, 4), [hung], file)
        members.on_update.append(note_update)
        await members.update(patience=0.1)
        file.write_text(f"{later}\n")
        await until_async(
            lambda: members.update(patience=0.1), lambda: later in fleet.replicas and fleet.replicas[later].takes_part
        )
        assert not fleet.replicas[hung].takes_part
        assert len(replicas[0].bodies) == 1
        assert len(updates) > 1
        may_continue.set()
        await until_async(members.update, lambda: fleet.replicas[hung].takes_part)
        await members.close()


async def test_the_watch_survives(engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable list changes nothing, and the next readable list is used."""
    monkeypatch.setattr(membership, "CHECK_SECONDS", 0.1)
    replica, file, tokenizer = replica_of(engine), tmp_path / "engines", byte_tokenizer()
    fleet = Fleet({TINY: tokenizer.vocab_size}, CONTEXT)
    members = Membership(fleet, check_of(tokenizer), ReplicaLimits(4, 4), [], file)
    file.write_text("http://[::1\n")
    watching = asyncio.create_task(members.watch())
    with listening(replica) as url:
        await asyncio.sleep(2.5 * membership.CHECK_SECONDS)
        assert not watching.done()
        file.write_text(f"{url}\n")
        await until(lambda: url in fleet.replicas and fleet.replicas[url].takes_part)
        watching.cancel()
        await members.close()


async def test_a_lost_engine_joins_again(engine: LocalEngine) -> None:
    """An engine without answers takes part once the engine answers."""
    replica, tokenizer = replica_of(engine), byte_tokenizer()
    replica.tokenizers = {}
    fleet = Fleet({TINY: tokenizer.vocab_size}, CONTEXT)
    with listening(replica) as url:
        members = Membership(fleet, check_of(tokenizer), ReplicaLimits(4, 4), [url])
        await members.update()
        assert not fleet.replicas[url].takes_part
        replica.tokenizers = {TINY: tokenizer}
        watching = asyncio.create_task(members.watch())
        await until(lambda: fleet.replicas[url].takes_part)
        watching.cancel()
        await fleet.replicas.disconnect()


def test_files_of_engines(tmp_path: Path) -> None:
    """A file has an address per line, comments and empty lines; a missing file has no address."""
    file = tmp_path / "engines"
    assert read_engines(file) == []
    file.write_text("# all\n\nhttp://10.0.0.5:8000/\n https://gpu.example  # fast\n")
    assert read_engines(file) == ["http://10.0.0.5:8000", "https://gpu.example"]
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_engines(file)
    file.write_text("#" * 100_000)
    with pytest.raises(ConfigError, match="has 100,000 bytes, but at most 65,536 are read"):
        read_engines(file)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a pipe, but only regular files are read"):
        read_engines(tmp_path / "pipe")


def test_a_password_is_not_shown() -> None:
    """An address with a password is refused, and the password is in no message."""
    with pytest.raises(ConfigError) as refused:
        engine_url("http://:secret@gpu:8000")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10.0.0.5:8000",
        "ftp://a",
        "http://",
        "http://a/v1",
        "http://a?b",
        "http://a:b",
        "http://[::1",
        "http://a\x01b:5",
    ],
)
def test_no_addresses(text: str) -> None:
    """A text other than a server's address is refused with an example."""
    with pytest.raises(ConfigError, match=r"An engine is an address like http://10.0.0.5:8000"):
        engine_url(text)


def check_of(tokenizer: Tokenizer) -> JoinCheck:
    return JoinCheck({TINY: tokenizer.encode(PROBE)}, {TINY: tokenizer.vocab_size})


async def answer(fleet: Fleet, session: str) -> Finish:
    """Return the finish of an answer."""
    items = [
        item
        async for item in fleet.generate(TINY, Request(list(b"def"), SamplingParams(max_tokens=6), session=session))
    ]
    assert len([item for item in items if isinstance(item, TokenScore)]) == 6
    assert isinstance(items[-1], Finish)
    return items[-1]


async def wait_for(event: Event) -> None:
    """Wait for an event set by the test in another thread."""
    while not event.is_set():
        await asyncio.sleep(0.01)


async def until_async(step: Callable[[], Awaitable[None]], holds: Callable[[], bool]) -> None:
    """Repeat a step until a condition holds."""
    async with asyncio.timeout(30):
        while not holds():
            await step()
