"""Wrong keys: who waits, how long, who does not, and what is remembered."""

from datetime import UTC, datetime, timedelta

import pytest

from collector.web.wrong_keys import (
    ADDRESSES_MAX,
    FIRST_WAIT,
    FORGOTTEN_AFTER,
    FREE_TRIES,
    KEYS_MAX,
    LONGEST_WAIT,
    WrongKeys,
    network_of,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NONE = timedelta(0)
PLACE = "192.0.2.7"


def wrong(kept: WrongKeys, times: int, address: str = PLACE, now: datetime = NOW) -> None:
    for number in range(times):
        kept.was_wrong(address, f"wrong-{number}", now)


def test_a_few_wrong_keys_cost_nothing() -> None:
    kept = WrongKeys()
    wrong(kept, FREE_TRIES)
    assert kept.wait(PLACE, "x", NOW) == NONE
    wrong(kept, 1)
    assert kept.wait(PLACE, "x", NOW) == FIRST_WAIT
    assert kept.wait(PLACE, "x", NOW + FIRST_WAIT) == NONE
    assert kept.wait("192.0.2.8", "x", NOW) == NONE


def test_each_more_doubles_the_wait_up_to_the_longest() -> None:
    kept = WrongKeys()
    wrong(kept, FREE_TRIES)
    waits = []
    for _ in range(40):
        wrong(kept, 1)
        waits.append(kept.wait(PLACE, "x", NOW))
    assert waits[:4] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, 8 * FIRST_WAIT]
    assert set(waits[12:]) == {LONGEST_WAIT}
    assert waits == sorted(waits)


def test_who_was_quiet_begins_anew() -> None:
    kept = WrongKeys()
    wrong(kept, FREE_TRIES + 1)
    later = NOW + FORGOTTEN_AFTER + timedelta(seconds=1)
    wrong(kept, FREE_TRIES, now=later)
    assert kept.wait(PLACE, "x", later) == NONE


def test_who_works_there_is_not_shut_out_by_a_neighbour() -> None:
    kept = WrongKeys()
    kept.was_good(PLACE, "billing")
    wrong(kept, FREE_TRIES + 5)
    assert kept.wait(PLACE, "billing", NOW) == NONE
    assert kept.wait(PLACE, "other", NOW) > NONE
    # Good here is not good there, and one that was revoked is good nowhere.
    wrong(kept, FREE_TRIES + 5, "192.0.2.8")
    assert kept.wait("192.0.2.8", "billing", NOW) > NONE
    kept.was_wrong(PLACE, "billing", NOW)
    assert kept.wait(PLACE, "billing", NOW) > NONE


def test_memory_is_bounded_and_keeps_no_key() -> None:
    kept = WrongKeys()
    for number in range(ADDRESSES_MAX + 500):
        kept.was_wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", "x", NOW)
    for number in range(KEYS_MAX + 500):
        kept.was_good(PLACE, f"secret-{number}")
    assert len(kept) == ADDRESSES_MAX + KEYS_MAX
    assert "secret" not in repr(kept._good)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("x" * 500, "x" * 64),
    ],
)
def test_an_address_is_counted_with_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
