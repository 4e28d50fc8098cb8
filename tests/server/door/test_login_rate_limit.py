"""API keys cannot be guessed fast, on the page or the API, and a typing error causes no wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pellucid.api.server_state import ServerState
from pellucid.door.api_keys import read_keys
from pellucid.door.login_rate_limit import (
    FREE_ATTEMPTS,
    MAX_ADDRESSES,
    MAX_WAIT_SECONDS,
    MEMORY_SECONDS,
    REPEATED_KEYS,
    LoginRateLimit,
)
from pellucid.errors import TooManyAttemptsError
from support.page.small_page_server import PagedServer, paged
from support.servers.http_servers import scripted_state

KEY = "key-of-anna"
KEYS = read_keys(f"anna:{KEY},ben:key-of-ben")
SHOWN = {"x-api-key": KEY}


def clocked() -> tuple[LoginRateLimit, list[float]]:
    """Return a rate limit and its clock."""
    now = [0.0]
    return LoginRateLimit(lambda: now[0]), now


def guess(limit: LoginRateLimit, address: str, count: int = FREE_ATTEMPTS) -> None:
    """Try new wrong keys without a wait."""
    for number in range(count):
        limit.failed(address, f"{address} {number}")


def test_guessing_is_slow() -> None:
    """The first wrong keys cause no wait, then each wait is doubled, up to a limit."""
    limit, now = clocked()
    waits = []
    for number in range(FREE_ATTEMPTS + 8):
        assert limit.owner_of(KEYS, f"wrong {number}", "192.0.2.1") is None
        waits.append(limit.wait("192.0.2.1"))
        now[0] += waits[-1]
        assert limit.wait("192.0.2.1") == 0

    assert waits == [0.0] * (FREE_ATTEMPTS - 1) + [2.0, 4.0, 8.0, 16.0, 32.0] + [MAX_WAIT_SECONDS] * 4
    assert limit.wait("192.0.2.2") == 0


def test_no_key_is_compared_meanwhile() -> None:
    """A waiting address learns nothing about a key; other addresses are served."""
    limit, now = clocked()
    guess(limit, "192.0.2.1")
    for key in (KEY, "another wrong one"):
        with pytest.raises(TooManyAttemptsError, match=r"^Too many wrong keys\. Try again in 2 seconds\.$") as refused:
            limit.owner_of(KEYS, key, "192.0.2.1")
        assert refused.value.retry_after == 2
    assert limit.owner_of(KEYS, KEY, "192.0.2.2") == "anna"
    now[0] += 2
    assert limit.owner_of(KEYS, KEY, "192.0.2.1") == "anna"


def test_a_key_of_ones_own_buys_no_guesses() -> None:
    """A user cannot guess faster by sending a valid key in between."""
    limit, now = clocked()
    for number in range(FREE_ATTEMPTS + 3):
        limit.owner_of(KEYS, f"wrong {number}", "192.0.2.1")
        now[0] += limit.wait("192.0.2.1")
        assert limit.owner_of(KEYS, "key-of-ben", "192.0.2.1") == "ben"
    limit.owner_of(KEYS, "wrong again", "192.0.2.1")

    assert limit.wait("192.0.2.1") == 32.0


def test_an_outdated_key_is_one_guess() -> None:
    """A repeated wrong key counts once, and locks out no client at the address."""
    limit, _ = clocked()
    for _ in range(1000):
        assert limit.owner_of(KEYS, "outdated", "192.0.2.1") is None
        assert limit.owner_of(KEYS, KEY, "192.0.2.1") == "anna"
    guess(limit, "192.0.2.1", FREE_ATTEMPTS)
    assert limit.owner_of(KEYS, "outdated", "192.0.2.1") is None
    guess(limit, "192.0.2.1", REPEATED_KEYS)
    with pytest.raises(TooManyAttemptsError):
        limit.owner_of(KEYS, "outdated", "192.0.2.1")


def test_wrong_keys_are_forgotten() -> None:
    """An hour without a wrong key resets the count."""
    limit, now = clocked()
    for number in range(3 * FREE_ATTEMPTS):
        limit.failed("192.0.2.1", str(number))
        assert limit.wait("192.0.2.1") == 0
        now[0] += MEMORY_SECONDS
    for number in range(FREE_ATTEMPTS):
        limit.failed("192.0.2.2", str(number))
        now[0] += MEMORY_SECONDS - 1
    limit.failed("192.0.2.2", "one more")

    assert limit.wait("192.0.2.2") == 4.0


def test_one_host_is_one_guesser() -> None:
    """Addresses of an IPv6 network count together; an IPv4 address counts in any spelling."""
    limit, _ = clocked()
    for number in range(FREE_ATTEMPTS):
        limit.failed(f"2001:db8::{number}", str(number))
        limit.failed("::ffff:192.0.2.1", str(number))

    assert limit.wait("2001:db8::ffff") == limit.wait("192.0.2.1") == 2.0
    assert limit.wait("2001:db8:0:1::1") == limit.wait("192.0.2.2") == limit.wait("") == 0.0


def test_this_machine_is_one_guesser() -> None:
    """All loopback addresses count together."""
    limit, _ = clocked()
    for number in range(FREE_ATTEMPTS):
        limit.failed(f"127.0.0.{number}", str(number))

    assert limit.wait("127.9.9.9") == limit.wait("::1") == limit.wait("::ffff:127.0.0.1") == 2.0


def test_guesses_cost_no_memory() -> None:
    """Only the latest addresses and keys are remembered."""
    limit, _ = clocked()
    for number in range(MAX_ADDRESSES + 10):
        limit.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "wrong")
    guess(limit, "192.0.2.1", 10 * REPEATED_KEYS)

    assert len(limit._records) == MAX_ADDRESSES
    assert len(limit._records["192.0.2.1"].digests) == REPEATED_KEYS


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[PagedServer]:
    """Run a server with keys and a page, and a clock at rest."""
    with paged(tmp_path, state=frozen()) as server:
        yield server


def frozen() -> ServerState:
    return scripted_state(keys=KEYS, login_rate_limit=LoginRateLimit(lambda: 0.0))


def ask(server: PagedServer, headers: dict[str, str]) -> httpx.Response:
    return server.server.http.get("/v1/models", headers=headers)


@pytest.mark.parametrize("way", ["bearer", "x-api-key", "page"])
def test_one_limit_for_all_ways(locked: PagedServer, way: str) -> None:
    """Wrong keys on a route count for all routes: then the right key is refused, with the wait."""
    for number in range(FREE_ATTEMPTS):
        wrong = f"wrong {number}"
        if way == "page":
            assert locked.http.post("/login", data={"key": wrong}).status_code == 403
        else:
            headers = {"authorization": f"Bearer {wrong}"} if way == "bearer" else {"x-api-key": wrong}
            assert ask(locked, headers).status_code == 401
    answers = [
        ask(locked, {"authorization": f"Bearer {KEY}"}),
        ask(locked, SHOWN),
        locked.http.post("/login", data={"key": KEY}),
    ]

    assert [(answer.status_code, answer.headers["retry-after"]) for answer in answers] == [(429, "2")] * 3
    assert answers[0].json()["error"] == {
        "message": "Too many wrong keys. Try again in 2 seconds.",
        "type": "rate_limit_error",
        "param": None,
        "code": 429,
    }
    assert "Too many wrong keys. Try again in 2 seconds." in answers[2].text
    assert locked.server.http.get("/health").status_code == 200


def test_bearer_guesses(locked: PagedServer) -> None:
    """Of a hundred guesses in a row, only the free guesses are compared."""
    with httpx.Client(base_url=locked.server.url, trust_env=False, timeout=60) as http:
        statuses = [
            http.get("/v1/models", headers={"authorization": f"Bearer guess-{number}"}).status_code
            for number in range(100)
        ]

    assert statuses == [401] * FREE_ATTEMPTS + [429] * (100 - FREE_ATTEMPTS)


def test_a_session_outlasts_a_wait(locked: PagedServer) -> None:
    """A session of the page stays valid while a client at the same address guesses."""
    assert locked.http.post("/login", data={"key": KEY}).status_code == 303
    for number in range(FREE_ATTEMPTS + 1):
        ask(locked, {"x-api-key": f"wrong {number}"})

    assert ask(locked, SHOWN).status_code == 429
    assert locked.http.get("/").status_code == 200
    assert '<form method="post" action="/login">' not in locked.http.get("/").text


def test_no_key_is_no_guess(locked: PagedServer) -> None:
    """A request without a key causes no wait."""
    assert [ask(locked, {}).status_code for _ in range(3 * FREE_ATTEMPTS)] == [401] * 3 * FREE_ATTEMPTS
    assert ask(locked, SHOWN).status_code == 200


def test_nobody_claims_another_address(locked: PagedServer, tmp_path: Path) -> None:
    """X-Forwarded-For counts only from a proxy of the settings."""

    def guessed(server: PagedServer) -> list[int]:
        return [
            ask(server, {"x-forwarded-for": f"192.0.2.{number}", "x-api-key": f"wrong {number}"}).status_code
            for number in range(FREE_ATTEMPTS + 3)
        ]

    assert guessed(locked) == [401] * FREE_ATTEMPTS + [429] * 3
    with paged(tmp_path / "proxied", state=frozen(), proxies=("127.0.0.0/8",)) as proxied:
        assert guessed(proxied) == [401] * (FREE_ATTEMPTS + 3)
