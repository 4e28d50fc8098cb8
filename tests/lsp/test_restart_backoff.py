"""Starts of a failing server are delayed; starts of a stable server are immediate."""

from __future__ import annotations

from pellucid_lsp.model_server.restart_backoff import Backoff


class Clock:
    """A clock that moves only if set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def waits(backoff: Backoff, clock: Clock, count: int, *, ready: bool) -> list[float]:
    """Return the delays before consecutive starts."""
    found = []
    for _ in range(count):
        found.append(backoff.seconds)
        clock.now += backoff.seconds
        backoff.started()
        if ready:
            backoff.ready()
            backoff.lost()
    return found


def test_starts_that_fail() -> None:
    """The first start is immediate, and the delay then doubles up to half a minute."""
    assert waits(Backoff(clock := Clock()), clock, 9, ready=False) == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]


def test_servers_that_die_soon() -> None:
    """A server killed repeatedly after readiness is restarted within seconds each time."""
    assert waits(Backoff(clock := Clock()), clock, 9, ready=True) == [0, 0.5, 1, 2, 4, 4, 4, 4, 4]


def test_time_that_has_passed_counts() -> None:
    """Delays count from the previous start, so a server that ran longer is replaced at once."""
    backoff = Backoff(clock := Clock())
    waits(backoff, clock, 4, ready=False)
    clock.now += 3

    assert backoff.seconds == 1
    clock.now += 5
    assert backoff.seconds == 0


def test_a_sound_server_makes_good() -> None:
    """Only a minute of readiness resets the delays."""
    backoff = Backoff(clock := Clock())
    for health, starts in ((59.0, [0, 0.5, 1, 2]), (60.0, [0, 0.5, 1, 2])):
        backoff.reset()
        waits(backoff, clock, 4, ready=False)
        backoff.ready()
        clock.now += health
        backoff.lost()
        again = waits(backoff, clock, 4, ready=False)
        assert (again == starts) is (health >= 60), health
