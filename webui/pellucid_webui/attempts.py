"""Guessing keys is slow: whoever gave wrong ones has to wait before the next."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

FREE = 5
"""Wrong keys that cost nothing: people mistype."""

LONGEST = 60.0
"""Seconds between two keys at most."""

MEMORY_SECONDS = 3600.0
"""How long wrong keys are held against an address after its last wait: people mistype again and again, guessers do not pause."""

MOST_ADDRESSES = 10_000
"""Addresses that are remembered."""


@dataclass(slots=True)
class _Record:
    """How many keys were wrong, and until when the next one is not looked at."""

    wrong: int
    until: float


class Attempts:
    """The wrong keys from each address of late. A network of IPv6 addresses that one host may have counts as one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def wait(self, address: str) -> float:
        """Seconds until the next key of an address is looked at; 0 when it is at once."""
        record = self._records.get(_place(address))
        return 0.0 if record is None else max(0.0, record.until - self._clock())

    def failed(self, address: str) -> None:
        """A key was wrong."""
        place, now = _place(address), self._clock()
        record = self._records.pop(place, None)
        wrong = 1 if record is None or now - record.until >= MEMORY_SECONDS else record.wrong + 1
        wait = 0.0 if wrong < FREE else min(LONGEST, 2.0 ** (wrong - FREE + 1))
        self._records[place] = _Record(wrong, now + wait)  # the last of all
        if len(self._records) > MOST_ADDRESSES:
            self._records.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """A key was right."""
        self._records.pop(_place(address), None)


def _place(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False)) if parsed.ipv4_mapped is None else str(parsed.ipv4_mapped)
    return address
