"""What the authority signs, and all that it refuses to."""

import ssl
import stat
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from contract.certificate import certificate_facts
from contract.enrolment import proven_bytes
from fleet import certificates, operations
from fleet.book import CERTIFICATE_LIFETIME, EXPIRES_SOON, RENEWABLE_AFTER_END, State
from fleet.errors import FleetError
from fleet.folder import opened
from gateway.enrolment import Files, request_first, request_next
from gateway.enrolment_key import proof_by_token
from tests.fleet.fleets import NOW, Fleet

OWN, OTHER = "PA25SL-T012", "PA25SL-T013"
DAY = timedelta(days=1)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.begun(tmp_path / "ca")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, OWN)


def refused(code: str) -> "pytest.RaisesExc[FleetError]":
    return pytest.RaisesExc(FleetError, check=lambda error: error.code == code)


def test_a_gateways_certificate_is_for_its_name_its_key_and_two_years(
    fleet: Fleet, tmp_path: Path
) -> None:
    credentials = fleet.enrol(OWN, tmp_path)
    facts = certificate_facts(credentials.read_text())
    assert facts.common_name == OWN
    assert facts.not_after_at == NOW + CERTIFICATE_LIFETIME
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(credentials)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "PA25SL-T012.pem",
        "broker-ca.pem",
        "ca",
    ]


def test_keys_are_their_owners_alone(fleet: Fleet) -> None:
    keys = list(fleet.path.rglob("*.key"))
    assert len(keys) == 3 + 1 + 3
    for path in (*keys, fleet.path / "journal"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(fleet.path.stat().st_mode) == 0o700


def test_an_authoritys_key_that_others_can_read_signs_nothing(fleet: Fleet, files: Files) -> None:
    request = request_first(files, fleet.token(OWN))
    (fleet.path / "gateways-ca.key").chmod(0o640)
    with refused("open_key"):
        fleet.sign(request)


def test_with_a_passphrase_the_keys_are_no_use_without_it(tmp_path: Path, files: Files) -> None:
    fleet = Fleet.begun(tmp_path / "locked", passphrase="nước chảy đá mòn")
    assert "ENCRYPTED" in (fleet.path / "gateways-ca.key").read_text()
    request = request_first(files, fleet.token(OWN))
    for wrong in (None, "another one"):
        fleet.passphrase = wrong
        with refused("passphrase"):
            fleet.sign(request)
    fleet.passphrase = "nước chảy đá mòn"
    assert fleet.sign(request).answer.gateway == OWN


# -- claim tokens


def test_a_token_is_kept_nowhere_and_does_not_travel(fleet: Fleet, files: Files) -> None:
    token = fleet.token(OWN)
    request = request_first(files, token)
    secret = token.replace("-", "")[:24]
    for path in (path for path in fleet.path.rglob("*") if path.is_file()):
        text = path.read_text(encoding="ascii").replace("-", "")
        assert secret not in text, path
    assert secret not in msgspec.json.encode(request).decode().replace("-", "")


def test_a_token_is_good_once(fleet: Fleet, files: Files) -> None:
    token = fleet.token(OWN)
    fleet.sign(request_first(files, token))
    with refused("token_used"):
        fleet.sign(request_first(files, token))


def test_a_token_runs_out(fleet: Fleet, files: Files) -> None:
    request = request_first(files, fleet.token(OWN, lifetime=3 * DAY))
    fleet.now = NOW + 3 * DAY
    with refused("token_expired"):
        fleet.sign(request)
    fleet.now -= timedelta(seconds=1)
    fleet.sign(request)


def test_a_token_is_for_one_name(fleet: Fleet, tmp_path: Path) -> None:
    token = fleet.token(OWN)
    with refused("other_gateway"):
        fleet.sign(request_first(Files(tmp_path, OTHER), token))


def test_a_token_that_was_withdrawn_or_never_made_is_refused(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    request = request_first(files, fleet.token(OWN))
    with opened(fleet.path) as folder:
        assert operations.withdraw(folder, OWN, NOW) == 1
    with refused("token_withdrawn"):
        fleet.sign(request)
    stranger = Fleet.begun(tmp_path / "other")
    with refused("unknown_token"):
        fleet.sign(request_first(files, stranger.token(OWN, replaces=True)))


def test_a_request_that_was_changed_on_its_way_is_refused(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    request = request_first(files, fleet.token(OWN))
    thief = request_first(Files(tmp_path, OWN), fleet.token(OTHER))
    with refused("not_proven"):
        fleet.sign(msgspec.structs.replace(request, csr=thief.csr))
    for proof in ("", "AAAA", "no base64"):
        with refused("not_proven"):
            fleet.sign(msgspec.structs.replace(request, proof=proof))
    fleet.sign(request)


def test_a_key_cannot_be_certified_under_another_name_than_it_asked_for(
    fleet: Fleet, tmp_path: Path
) -> None:
    # A gateway with a good token that asks in its own name, with a request for another's.
    from contract.enrolment import parse_token

    token = fleet.token(OWN)
    request = request_first(Files(tmp_path, OWN), token)
    foreign = request_first(Files(tmp_path, OTHER), fleet.token(OTHER)).csr
    assert request.claim is not None
    proof = proof_by_token(parse_token(token).seed, proven_bytes(OWN, request.claim, foreign))
    with refused("other_gateway"):
        fleet.sign(
            msgspec.structs.replace(request, csr=foreign, proof=_base64(proof)),
        )


@pytest.mark.parametrize("name", ["intake", "commands", "monitor", "broker", "INTAKE"])
def test_no_gateway_is_named_as_a_service(fleet: Fleet, name: str) -> None:
    with refused("reserved_name"):
        fleet.token(name)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a b", "x" * 65])
def test_no_gateway_has_a_name_that_is_no_level_of_a_topic(fleet: Fleet, name: str) -> None:
    with refused("bad_name"):
        fleet.token(name)


def test_a_clock_that_is_behind_signs_nothing(fleet: Fleet, files: Files) -> None:
    request = request_first(files, fleet.token(OWN))
    fleet.now = NOW - DAY
    with refused("clock"):
        fleet.sign(request)
    with refused("clock"):
        fleet.revoke(OWN)


# -- replacing, renewing, taking back


def test_a_name_with_a_certificate_needs_a_word_more(fleet: Fleet, tmp_path: Path) -> None:
    first = certificate_facts(fleet.enrol(OWN, tmp_path).read_text()).serial
    with refused("has_certificate"):
        fleet.token(OWN)
    fleet.enrol(OWN, tmp_path / "new", replaces=True)
    assert _listed(fleet) == {first}


def test_a_renewal_needs_no_token_and_leaves_the_last_certificate_good(
    fleet: Fleet, tmp_path: Path
) -> None:
    first = certificate_facts(fleet.enrol(OWN, tmp_path).read_text()).serial
    fleet.now = NOW + 700 * DAY
    second = fleet.renew(OWN, tmp_path).certificate
    assert _listed(fleet) == set()
    assert second.not_after_at == NOW + 700 * DAY + CERTIFICATE_LIFETIME
    fleet.now += DAY
    third = fleet.renew(OWN, tmp_path).certificate
    # What is two certificates old is of use to nobody but a thief.
    assert _listed(fleet) == {first}
    assert certificate_facts(Files(tmp_path, OWN).credentials.read_text()).serial == third.serial


def test_a_renewal_that_is_signed_again_is_the_same_certificate(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    """Signed three times by mistake, the file would have ended the certificate in force."""
    fleet.enrol(OWN, tmp_path)
    request = request_next(files)
    first = fleet.sign(request)
    journal = (fleet.path / "journal").read_bytes()
    assert [fleet.sign(request).answer for _ in range(3)] == [first.answer] * 3
    assert (fleet.path / "journal").read_bytes() == journal
    assert _listed(fleet) == set()


def test_a_certificate_that_ran_out_renews_itself_for_a_year_more(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    fleet.enrol(OWN, tmp_path)
    fleet.now = NOW + CERTIFICATE_LIFETIME + RENEWABLE_AFTER_END
    with refused("too_old"):
        fleet.sign(request_next(files))
    fleet.now -= DAY
    fleet.sign(request_next(files))


def test_a_certificate_taken_back_renews_nothing(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    serial = certificate_facts(fleet.enrol(OWN, tmp_path).read_text()).serial
    assert fleet.revoke(OWN) == (serial,)
    with refused("revoked"):
        fleet.sign(request_next(files))


def test_nobody_renews_anothers_certificate(fleet: Fleet, tmp_path: Path) -> None:
    fleet.enrol(OWN, tmp_path)
    other = certificate_facts(fleet.enrol(OTHER, tmp_path / "b").read_text()).serial
    request = request_next(Files(tmp_path, OWN))
    with refused("other_gateway"):
        fleet.sign(msgspec.structs.replace(request, serial=other))
    with refused("not_proven"):
        fleet.sign(msgspec.structs.replace(request, serial=other, gateway=OTHER))
    with opened(fleet.path) as folder:
        intake = next(one for one in folder.book.issued.values() if one.name == "intake")
    with refused("unknown_certificate"):
        fleet.sign(msgspec.structs.replace(request, serial=intake.serial))


def test_who_is_taken_back_cannot_use_a_token_that_was_open(
    fleet: Fleet, files: Files, tmp_path: Path
) -> None:
    fleet.enrol(OWN, tmp_path)
    request = request_first(files, fleet.token(OWN, replaces=True))
    fleet.revoke(OWN)
    with refused("token_withdrawn"):
        fleet.sign(request)


def test_what_runs_out_is_said_in_time(fleet: Fleet, tmp_path: Path) -> None:
    fleet.enrol(OWN, tmp_path)
    assert fleet.warnings() == []
    fleet.now = NOW + CERTIFICATE_LIFETIME - EXPIRES_SOON
    assert len(fleet.warnings()) == 1 + 1 + 3
    assert any(f"{OWN}: the certificate runs out in 90 days" in one for one in fleet.warnings())
    fleet.renew(OWN, tmp_path)
    assert not any(OWN in one for one in fleet.warnings())
    fleet.now = NOW + 2 * CERTIFICATE_LIFETIME
    assert any(f"{OWN}: the certificate has run out" in one for one in fleet.warnings())


def test_the_authoritys_own_end_is_said_before_what_it_signs_is_cut_short(fleet: Fleet) -> None:
    fleet.now = NOW + timedelta(days=30 * 365) - CERTIFICATE_LIFETIME
    assert sum("the authority itself ends" in one for one in fleet.warnings()) == 3


def test_states_of_a_list(fleet: Fleet, tmp_path: Path) -> None:
    fleet.enrol(OWN, tmp_path)
    fleet.renew(OWN, tmp_path)
    with opened(fleet.path) as folder:
        first, second = (one for one in folder.book.issued.values() if one.name == OWN)
        assert folder.book.state(first, NOW) is State.SUPERSEDED
        assert folder.book.state(second, NOW) is State.GOOD


def _listed(fleet: Fleet) -> set[str]:
    text = (fleet.path / "broker" / "gateways-crl.pem").read_text()
    return certificates.listed_serials(text)


def _base64(data: bytes) -> str:
    from contract.enrolment import proof_text

    return proof_text(data)
