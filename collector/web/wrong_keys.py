"""Wrong keys by address: who sends many of them waits, longer each time, and is not looked up.

It decides from what it is told and keeps nothing but bounded memory; it must not know requests.
A process counts for itself: with n workers an address has n times as many tries.
"""

import hashlib
import ipaddress
import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

# A person who pastes badly, or a script of yesterday's key on a few machines behind one address.
FREE_TRIES = 10

# The first wait; each further wrong key doubles it.
FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=15)

# Who was quiet for so long begins anew.
FORGOTTEN_AFTER = timedelta(hours=1)

# A crowd of addresses must not fill the memory: those that were quiet longest are forgotten.
ADDRESSES_MAX = 10_000
KEYS_MAX = 1_000

# Whoever has one address of IPv6 has all of its network (RFC 6177).
_IPV6_PREFIX = 64


@dataclass(slots=True)
class _Tries:
    count: int
    last_at: datetime
    until: datetime | None = None


class WrongKeys:
    """What every request asks before its key is looked up, and tells afterwards.

    A key that was good from an address goes on being looked up while the address waits: nobody
    behind a common address can shut out those who work there. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, address: str, key: str, now: datetime) -> timedelta:
        """How long this address has to wait before `key` is looked up; zero: not at all."""
        place = network_of(address)
        with self._lock:
            tries = self._tries.get(place)
            if tries is None or tries.until is None or tries.until <= now:
                return timedelta(0)
            if _mark(place, key) in self._good:
                return timedelta(0)
            return tries.until - now

    def was_wrong(self, address: str, key: str, now: datetime) -> None:
        """A key from this address was refused."""
        place = network_of(address)
        with self._lock:
            self._good.pop(_mark(place, key), None)
            tries = self._tries.pop(place, None)
            if tries is None or now - tries.last_at > FORGOTTEN_AFTER:
                tries = _Tries(0, now)
            tries.count += 1
            tries.last_at = now
            over = tries.count - FREE_TRIES
            if over > 0:
                doublings = min(over - 1, 20)
                tries.until = now + min(FIRST_WAIT * 2**doublings, LONGEST_WAIT)
            self._tries[place] = tries
            if len(self._tries) > ADDRESSES_MAX:
                self._tries.popitem(last=False)

    def was_good(self, address: str, key: str) -> None:
        """A key from this address is good. It does not take back the wrong ones."""
        mark = _mark(network_of(address), key)
        with self._lock:
            self._good[mark] = None
            self._good.move_to_end(mark)
            if len(self._good) > KEYS_MAX:
                self._good.popitem(last=False)

    def __len__(self) -> int:
        """How many addresses and keys are remembered."""
        with self._lock:
            return len(self._tries) + len(self._good)


def network_of(address: str) -> str:
    """What is counted as one: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]  # a socket's name
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)


def _mark(place: str, key: str) -> bytes:
    return hashlib.sha256(f"{place}\0{key}".encode("utf-8", "surrogatepass")).digest()
