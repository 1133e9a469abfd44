"""API keys: shown once, checked in constant time, refused without saying why."""

import hmac
import time
from datetime import datetime, timedelta

import pytest

from collector.errors import Conflict, InvalidRequest, NotFound
from collector.ledger import Ledger
from collector.ledger.keys import KeyRepository
from collector.operations.keys import (
    KeyRefused,
    add_key,
    check_key,
    list_keys,
    revoke_key,
)
from tests.ledger.building import NOW

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)

# What the older names `read` and `snapshot` stand for.
CLERK = {"readings:read", "export:read", "snapshot:create"}


def test_a_key_says_who_it_is_and_is_not_stored(ledger: Ledger) -> None:
    key = add_key(ledger, name="clerk", scopes=["read", "snapshot", "read"], now=NOW)
    _, prefix, secret = key.split("_")
    assert key.startswith("sgl_")
    assert len(bytes.fromhex(secret)) * 8 == 160
    identity = check_key(ledger, key, NOW)
    assert (identity.name, identity.scopes) == ("clerk", frozenset(CLERK))
    with ledger.read() as uow:
        stored = uow.keys.by_prefix(prefix)
        assert stored is not None
        assert len(stored.sha256) == 32
        assert secret not in repr(stored)
        [entry] = uow.audit.newest(5)
    assert (entry.action, entry.subject) == ("key.add", "clerk")
    assert secret not in repr(entry)


def test_keys_differ(ledger: Ledger) -> None:
    keys = {add_key(ledger, name=f"k{n}", scopes=["read"], now=NOW) for n in range(20)}
    assert len(keys) == 20


def test_what_is_no_good_key_is_refused_all_alike(ledger: Ledger) -> None:
    key = add_key(ledger, name="clerk", scopes=["read"], now=NOW, expires_at=NOW + HOUR)
    head, prefix, secret = key.split("_")
    wrong_secret = f"{head}_{prefix}_{secret[::-1]}"
    wrong_prefix = f"{head}_{prefix[::-1]}_{secret}"
    said = set()
    for wrong in ("", "x", "sgl__", key[:-1], key + "0", key.upper(), wrong_secret, wrong_prefix):
        with pytest.raises(KeyRefused) as caught:
            check_key(ledger, wrong, NOW)
        said.add(str(caught.value))
    assert len(said) == 1


def test_an_unknown_key_is_compared_as_a_wrong_one_is(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds out by the clock which prefixes there are has less to guess."""
    head, prefix, secret = add_key(ledger, name="clerk", scopes=["read"], now=NOW).split("_")
    compare = hmac.compare_digest
    lengths: list[tuple[int, int]] = []

    def seen(one: bytes, other: bytes) -> bool:
        lengths.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", seen)
    for wrong in (f"{head}_{prefix}_{'0' * len(secret)}", f"{head}_00000000_{secret}", "x"):
        with pytest.raises(KeyRefused):
            check_key(ledger, wrong, NOW)
    assert lengths == [(32, 32)] * 3


def test_a_key_expires(ledger: Ledger) -> None:
    key = add_key(ledger, name="clerk", scopes=["read"], now=NOW, expires_at=NOW + HOUR)
    check_key(ledger, key, NOW + HOUR - timedelta(seconds=1))
    with pytest.raises(KeyRefused):
        check_key(ledger, key, NOW + HOUR)


def test_a_key_is_revoked(ledger: Ledger) -> None:
    key = add_key(ledger, name="clerk", scopes=["read"], now=NOW)
    revoke_key(ledger, name="clerk", now=NOW + HOUR)
    with pytest.raises(KeyRefused):
        check_key(ledger, key, NOW + HOUR)
    with pytest.raises(NotFound):
        revoke_key(ledger, name="clerk", now=NOW + HOUR)
    [view] = list_keys(ledger)
    assert (view.name, view.revoked_at) == ("clerk", NOW + HOUR)


def test_what_cannot_be_a_key_is_refused(ledger: Ledger) -> None:
    for name in ("", "-x", "a b", "x" * 65):
        with pytest.raises(InvalidRequest):
            add_key(ledger, name=name, scopes=["read"], now=NOW)
    for scopes in ([], ["all"]):
        with pytest.raises(InvalidRequest):
            add_key(ledger, name="clerk", scopes=scopes, now=NOW)
    with pytest.raises(InvalidRequest):
        add_key(ledger, name="clerk", scopes=["read"], now=NOW, expires_at=NOW)
    add_key(ledger, name="clerk", scopes=["read"], now=NOW)
    with pytest.raises(Conflict):
        add_key(ledger, name="clerk", scopes=["read"], now=NOW)
    assert len(list_keys(ledger)) == 1


def last_use(ledger: Ledger) -> object:
    [view] = list_keys(ledger)
    return view.last_used_at


def test_the_last_use_is_known_to_the_minute(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = add_key(ledger, name="clerk", scopes=["admin"], now=NOW)
    assert last_use(ledger) is None
    written = []
    used = KeyRepository.used

    def counted(self: KeyRepository, prefix: str, at: datetime) -> None:
        written.append(at)
        used(self, prefix, at)

    monkeypatch.setattr(KeyRepository, "used", counted)
    for second in range(0, 181, 10):
        check_key(ledger, key, NOW + timedelta(seconds=second))
    assert written == [NOW, NOW + MINUTE, NOW + 2 * MINUTE, NOW + 3 * MINUTE]
    assert last_use(ledger) == NOW + 3 * MINUTE
    with ledger.begin() as uow:
        uow.keys.used(key.split("_")[1], NOW)  # a request that was overtaken
    assert last_use(ledger) == NOW + 3 * MINUTE


def test_a_wrong_key_is_no_use(ledger: Ledger) -> None:
    key = add_key(ledger, name="clerk", scopes=["admin"], now=NOW, expires_at=NOW + HOUR)
    for wrong, at in ((key[:-1] + ("0" if key[-1] != "0" else "1"), NOW), (key, NOW + HOUR)):
        with pytest.raises(KeyRefused):
            check_key(ledger, wrong, at)
    assert last_use(ledger) is None


@pytest.mark.timeout(10)
def test_who_reads_is_not_held_up_by_a_writer(ledger: Ledger) -> None:
    key = add_key(ledger, name="clerk", scopes=["admin"], now=NOW)
    with ledger.begin() as writer:
        writer.keys.used(key.split("_")[1], NOW - HOUR)
        began = time.monotonic()
        assert check_key(ledger, key, NOW).name == "clerk"
        assert time.monotonic() - began < 3
    assert last_use(ledger) == NOW - HOUR
    check_key(ledger, key, NOW)
    assert last_use(ledger) == NOW
