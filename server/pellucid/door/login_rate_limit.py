"""A limit on guesses of API keys, for the page's login form and the API's headers.

While an address has to wait, no key from the address is compared, not even a right key: otherwise
the reply would reveal a right key. Existing browser sessions stay valid. A right key does not
shorten a wait, so that a user with a key cannot guess keys of other users.

A program with an outdated key repeats the key with every request, so each key counts only once.
"""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from pellucid.door.api_keys import Keys
from pellucid.errors import TooManyAttemptsError

FREE_ATTEMPTS = 5
"""Wrong keys that cause no wait, as people mistype."""

MAX_WAIT_SECONDS = 60.0
MEMORY_SECONDS = 3600.0
"""Time for which an address's wrong keys are remembered after the last wait.

People who mistype pause; guessers do not.
"""

MAX_ADDRESSES = 10_000
"""Maximum number of remembered addresses."""

REPEATED_KEYS = 8
"""Number of an address's latest wrong keys that may be repeated without a wait."""


@dataclass(slots=True)
class _AttemptRecord:
    """Wrong keys, the end of the wait, and digests of the latest keys."""

    wrong: int = 0
    until: float = 0.0
    digests: list[bytes] = field(default_factory=list)


class LoginRateLimit:
    """Counts the wrong keys of each address.

    A host's network of IPv6 addresses counts as one address.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._records: OrderedDict[str, _AttemptRecord] = OrderedDict()

    def owner_of(self, keys: Keys, key: str, address: str) -> str | None:
        """Return the owner of a key (``None``: wrong key).

        Raises TooManyAttemptsError while the address has to wait.
        """
        seen = f"{keys.version} {key}"  # A wrong key may be right after a change.
        record = self._records.get(_place(address))
        if record is not None and self._digest(seen) in record.digests:
            return None
        wait = math.ceil(self.wait(address))
        if wait:
            raise TooManyAttemptsError(f"Too many wrong keys. Try again in {wait} seconds.", wait)
        owner = keys.owner_of(key)
        if owner is None:
            self.failed(address, seen)
        return owner

    def wait(self, address: str) -> float:
        record = self._records.get(_place(address))
        return 0.0 if record is None else max(0.0, record.until - self._clock())

    def failed(self, address: str, key: str) -> None:
        place, now = _place(address), self._clock()
        record = self._records.pop(place, None)
        if record is None or now - record.until >= MEMORY_SECONDS:
            record = _AttemptRecord()
        record.wrong += 1
        wait = (
            0.0
            if record.wrong < FREE_ATTEMPTS
            else min(MAX_WAIT_SECONDS, 2.0 ** min(record.wrong - FREE_ATTEMPTS + 1, 10))
        )
        record.until = now + wait
        record.digests = [*record.digests, self._digest(key)][-REPEATED_KEYS:]
        self._records[place] = record  # Most recent record
        if len(self._records) > MAX_ADDRESSES:
            self._records.popitem(last=False)

    def _digest(self, key: str) -> bytes:
        return hmac.digest(self._secret, key.encode(), "sha256")


def _place(address: str) -> str:
    """Return the unit that is limited: a /64 of IPv6 (a host may use all), or all of loopback."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    if parsed.is_loopback:
        return "loopback"
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
