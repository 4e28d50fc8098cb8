"""Requests of a session find the same replica."""

from __future__ import annotations

from collections import Counter

from pellucid.fleet.replicas import by_affinity

ADDRESSES = [f"http://10.0.0.{number}:8000" for number in range(1, 9)]
KEYS = [f"editor-{number}" for number in range(4000)]


def test_the_order_of_the_addresses_does_not_matter() -> None:
    """Two fronts choose the same replica, in any order of the addresses."""
    assert all(by_affinity(key, ADDRESSES) == by_affinity(key, reversed(ADDRESSES)) for key in KEYS[:100])


def test_replicas_share_the_keys_evenly() -> None:
    """Each of eight replicas is preferred by about an eighth of the keys."""
    shares = Counter(by_affinity(key, ADDRESSES)[0] for key in KEYS)
    assert len(shares) == len(ADDRESSES)
    assert all(400 <= share <= 600 for share in shares.values())


def test_a_lost_replica_moves_only_its_own_keys() -> None:
    """Keys of a lost replica move to the second choice, and all other keys stay."""
    lost = ADDRESSES[3]
    remaining = [address for address in ADDRESSES if address != lost]
    for key in KEYS[:500]:
        first, second, *_ = by_affinity(key, ADDRESSES)
        assert by_affinity(key, remaining)[0] == (second if first == lost else first)
