"""Routing of an editor's or conversation's requests to the same replica, for its cache."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def by_affinity(key: str, addresses: Iterable[str]) -> list[str]:
    """Return the addresses in the key's order of preference.

    This is rendezvous hashing (Thaler and Ravishankar 1996). Adding or removing a replica changes
    the first choice of its own keys only, and fronts need no shared state.
    """
    return sorted(addresses, key=lambda address: blake2b(f"{key}\n{address}".encode(), digest_size=8).digest())
