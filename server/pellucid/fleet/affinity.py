"""Sends requests of one editor or conversation to the same replica, whose cache has the beginning of their prompts."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def by_affinity(key: str, addresses: Iterable[str]) -> list[str]:
    """Return the addresses in the order in which a key prefers them.

    This is rendezvous hashing (Thaler and Ravishankar 1996): a replica that comes or goes changes
    the first choice of its own share of the keys only, and no front needs to know what another has
    chosen.
    """
    return sorted(addresses, key=lambda address: blake2b(f"{key}\n{address}".encode(), digest_size=8).digest())
