"""What the authority has done, as events, and what follows from them: the book.

Every decision is made from the book, an instant and what is asked; one event is one act, so that a
token is used and its certificate issued together or not at all. Pure; it must not know files or
keys.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from contract.messages import Instant
from contract.topics import is_name
from fleet.errors import FleetError

# The identities of firmware_config/broker/acl that are services. The broker's name is here too, so
# that no gateway can be taken for it by a person who reads a list.
SERVICES = ("intake", "commands", "monitor")
RESERVED = (*SERVICES, "broker")

# A gateway in a mountain village is visited twice a year: its certificate outlasts a year and four
# months of visits missed. 825 days is also the longest that common TLS clients take.
CERTIFICATE_LIFETIME = timedelta(days=825)
# From then on `list` and `check` ask for a new one.
EXPIRES_SOON = timedelta(days=90)
# A certificate that has run out still asks for its successor, this long: a station that stood
# without network through a year is not enrolled anew.
RENEWABLE_AFTER_END = timedelta(days=400)
CLOCK_BEHIND_MAX = timedelta(minutes=5)
TOKEN_LIFETIME = timedelta(days=7)
TOKEN_LIFETIME_MAX = timedelta(days=90)


class Kind(StrEnum):
    """What a certificate is for."""

    GATEWAY = "gateway"
    SERVICE = "service"
    BROKER = "broker"


class State(StrEnum):
    """What a certificate is good for at an instant."""

    GOOD = "good"
    EXPIRES_SOON = "expires soon"
    EXPIRED = "expired"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The authorities were made. `authorities` has their SHA-256 by name, in hexadecimal."""

    at: Instant
    authorities: dict[str, str]


class TokenMade(msgspec.Struct, frozen=True, tag="token_made"):
    """A gateway may ask for a certificate once; `claim` is the token's public half.

    With `replaces`, every earlier certificate of the gateway is revoked by the new one.
    """

    at: Instant
    claim: str
    gateway: str
    expires_at: Instant
    replaces: bool = False


class TokenWithdrawn(msgspec.Struct, frozen=True, tag="token_withdrawn"):
    """A token that was not used counts no more."""

    at: Instant
    claim: str


class Issued(msgspec.Struct, frozen=True, tag="issued"):
    """A certificate, whole; `claim` is of the token that it used, `revokes` the serials it ends."""

    at: Instant
    kind: Kind
    name: str
    serial: str
    not_after_at: Instant
    certificate: str
    claim: str | None = None
    revokes: tuple[str, ...] = ()


class Revoked(msgspec.Struct, frozen=True, tag="revoked"):
    """Certificates that count no more, and why in a person's words."""

    at: Instant
    serials: tuple[str, ...]
    reason: str


Event = Begun | TokenMade | TokenWithdrawn | Issued | Revoked


@dataclass(frozen=True, slots=True)
class Revocation:
    """When a certificate was taken back, and why."""

    at: datetime
    reason: str


@dataclass(slots=True)
class Book:
    """The events' sum. Dictionaries are in the order of the events."""

    begun: Begun | None = None
    last_at: datetime | None = None
    tokens: dict[str, TokenMade] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    used: dict[str, Issued] = field(default_factory=dict)
    issued: dict[str, Issued] = field(default_factory=dict)
    revoked: dict[str, Revocation] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take one more event into account."""
        self.last_at = max(self.last_at or event.at, event.at)
        match event:
            case Begun():
                self.begun = event
            case TokenMade():
                self.tokens[event.claim] = event
            case TokenWithdrawn():
                self.withdrawn.add(event.claim)
            case Issued():
                self.issued[event.serial] = event
                if event.claim is not None:
                    self.used[event.claim] = event
                self._revoke(event.revokes, Revocation(event.at, "replaced"))
            case Revoked():
                self._revoke(event.serials, Revocation(event.at, event.reason))

    def of(self, kind: Kind, name: str) -> list[Issued]:
        """Certificates of one name, the latest last."""
        return [one for one in self.issued.values() if one.kind is kind and one.name == name]

    def counting(self, kind: Kind, name: str, now: datetime) -> list[Issued]:
        """Those of them that the broker takes."""
        return [
            one
            for one in self.of(kind, name)
            if one.serial not in self.revoked and now < one.not_after_at
        ]

    def state(self, certificate: Issued, now: datetime) -> State:
        """What a certificate is good for."""
        if certificate.serial in self.revoked:
            return State.REVOKED
        if now >= certificate.not_after_at:
            return State.EXPIRED
        if self.of(certificate.kind, certificate.name)[-1] is not certificate:
            return State.SUPERSEDED
        if now >= certificate.not_after_at - EXPIRES_SOON:
            return State.EXPIRES_SOON
        return State.GOOD

    def open_tokens(self, now: datetime) -> Iterator[TokenMade]:
        """Tokens that can still be used."""
        for claim, token in self.tokens.items():
            if claim not in self.used and claim not in self.withdrawn and now < token.expires_at:
                yield token

    def _revoke(self, serials: Iterable[str], revocation: Revocation) -> None:
        for serial in serials:
            # The first time counts: a list that has gone out is not contradicted.
            self.revoked.setdefault(serial, revocation)


def check_clock(book: Book, now: datetime) -> None:
    """Raises FleetError where this computer's clock is behind what was done already.

    An authority is often a laptop that lies in a safe: with an empty battery it would sign for a
    period long gone, and take tokens that have run out.
    """
    if book.last_at is not None and now < book.last_at - CLOCK_BEHIND_MAX:
        raise FleetError(
            "clock",
            f"this computer's clock says {said(now)}; the last act was at {said(book.last_at)}",
            "set the clock, then do it again",
        )


def check_gateway_name(name: str) -> None:
    """Raises FleetError for what cannot name a gateway."""
    if not is_name(name):
        raise FleetError(
            "bad_name",
            f"{name!r} cannot name a gateway",
            "letters, digits, '_', '.', '-', at most 64, the first a letter or a digit",
        )
    if name.lower() in RESERVED:
        raise FleetError(
            "reserved_name",
            f"{name!r} is the identity of a service",
            "a gateway is named after its station's code",
        )


def check_token_wanted(book: Book, gateway: str, now: datetime, *, replaces: bool) -> None:
    """Whether a token may be made. Raises FleetError."""
    check_gateway_name(gateway)
    if not replaces and (counting := book.counting(Kind.GATEWAY, gateway, now)):
        until = counting[-1].not_after_at.date()
        raise FleetError(
            "has_certificate",
            f"{gateway} has a certificate, good until {until}",
            "a gateway that runs asks for the next itself: songlo gateway enrol renew. For a new "
            "machine or card, or a lost key: --replace, which takes the old certificates back when "
            "the new one is signed",
        )


def check_claim(book: Book, claim: str, gateway: str, now: datetime) -> TokenMade:
    """The token that a request claims. Raises FleetError unless it may be used, now, for this."""
    token = book.tokens.get(claim)
    if token is None:
        raise FleetError(
            "unknown_token",
            "the request's claim token is none of this authority",
            "make one with: songlo fleet token",
        )
    if token.gateway != gateway:
        raise FleetError(
            "other_gateway",
            f"the claim token is for {token.gateway}, the request is of {gateway}",
            "ask again with the token of this gateway",
        )
    if (used := book.used.get(claim)) is not None:
        raise FleetError(
            "token_used",
            f"the claim token was used at {said(used.at)}, for certificate {used.serial}",
            "if the answer was lost, `songlo fleet show` writes it again; if nobody here used the "
            "token, somebody else did: revoke that certificate and make another token",
        )
    if claim in book.withdrawn:
        raise FleetError("token_withdrawn", "the claim token was withdrawn", "make another one")
    if now >= token.expires_at:
        raise FleetError(
            "token_expired",
            f"the claim token ran out at {said(token.expires_at)}",
            "make another one with: songlo fleet token",
        )
    return token


def check_renewal(book: Book, serial: str, gateway: str, now: datetime) -> Issued:
    """The certificate whose key asks for the next. Raises FleetError unless it may."""
    held = book.issued.get(serial)
    if held is None or held.kind is not Kind.GATEWAY:
        raise FleetError(
            "unknown_certificate",
            f"certificate {serial} is none of a gateway of this authority",
            "enrol the gateway with a claim token: songlo fleet token",
        )
    if held.name != gateway:
        raise FleetError(
            "other_gateway",
            f"certificate {serial} is of {held.name}, the request is of {gateway}",
        )
    if (revoked := book.revoked.get(serial)) is not None:
        raise FleetError(
            "revoked",
            f"certificate {serial} was taken back at {said(revoked.at)} ({revoked.reason})",
            "if the gateway is to come in again, make a claim token for it",
        )
    if now >= held.not_after_at + RENEWABLE_AFTER_END:
        raise FleetError(
            "too_old",
            f"certificate {serial} ran out at {said(held.not_after_at)}, more than "
            f"{RENEWABLE_AFTER_END.days} days ago",
            "make a claim token for the gateway",
        )
    return held


def ended_by(
    book: Book, kind: Kind, name: str, now: datetime, *, keep_latest: bool
) -> tuple[str, ...]:
    """Serials that a new certificate revokes.

    At a renewal the latest goes on until it ends, since the next one is still on its way to the
    station; what was before it has no use but to a thief.
    """
    counting = [one.serial for one in book.counting(kind, name, now)]
    return tuple(counting[:-1] if keep_latest else counting)


def said(at: datetime) -> str:
    """An instant as people read it here."""
    return at.strftime("%Y-%m-%d %H:%M UTC")
