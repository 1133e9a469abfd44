"""The bill preview (hóa đơn tạm tính): a value that explains itself, its canonical form and hash.

Every line leads to determinants, every determinant to reads, every price to its file. It must not
compute anything but the hash. The billing system issues the bill; this lets a clerk check it.
"""

import hashlib
from datetime import date

import msgspec

from collector.billing.rating.determinants import StretchRead
from collector.billing.rating.tariff import Certainty, Rate


class _Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Minus(_Value, frozen=True, kw_only=True):
    """What a sub-meter measured, which its parent does not pay."""

    point: str
    energy: int


class Determinant(_Value, frozen=True, kw_only=True):
    """One register's energy between two indices: what was measured, less sub-meters, and its reads.

    `energy` and `measured` are whole kWh, or kvarh of a reactive register.
    """

    id: str
    point: str
    register: str
    from_day: date
    to_day: date
    measured: int
    minus: tuple[Minus, ...]
    energy: int
    reads: tuple[StretchRead, ...]


class EnergyLine(_Value, frozen=True, kw_only=True):
    """energy_kwh × price_vnd = amount_vnd, for some days of some determinants.

    `tier` is the band's number from 1 and `band_kwh` its width here (None: without end).
    """

    point: str
    group: str
    group_vi: str
    group_en: str
    tariff: str
    from_day: date
    to_day: date
    tier: int | None
    band_kwh: int | None
    rate: Rate | None
    energy_kwh: int
    price_vnd: int
    amount_vnd: int
    determinants: tuple[str, ...]


class ReactiveLine(_Value, frozen=True, kw_only=True):
    """base_vnd × k % = amount_vnd, k from cos φ; per cent and cos φ in hundredths."""

    point: str
    tariff: str
    active_kwh: int
    reactive_kvarh: int
    cos_phi_hundredths: int
    k_percent_hundredths: int
    base_vnd: int
    amount_vnd: int
    determinants: tuple[str, ...]


class TariffUsed(_Value, frozen=True, kw_only=True):
    """A tariff that the preview rests on, with the hash of its file."""

    id: str
    kind: str
    name_vi: str
    name_en: str
    document: str
    article: str
    certainty: Certainty
    in_force: bool
    sha256: str


class Adjustment(_Value, frozen=True, kw_only=True):
    """What an earlier bill would have come to with what is known now, less what it came to.

    `run` is the billing run of that bill, `energy_kwh` the difference (below zero: to be given
    back), and so are the amounts. `before` and `after` are the lines that differ, by the tariffs
    in force then and the tax of that bill; the hashes are those of the two previews.
    """

    run: str
    from_day: date
    to_day: date
    energy_kwh: int
    before: tuple[EnergyLine, ...]
    after: tuple[EnergyLine, ...]
    amount_vnd: int
    vat_percent_hundredths: int
    vat_vnd: int
    total_vnd: int
    before_sha256: str
    after_sha256: str
    tariffs: tuple[TariffUsed, ...]


# `omit_defaults`: a bill without adjustments has the same bytes as before there were any.
class BillPreview(_Value, frozen=True, kw_only=True, omit_defaults=True):
    """What a bill comes to, in whole đồng: lines, tax and total, and everything they rest on.

    `what_if` names the price table that was taken in place of those in force, if any. `total_vnd`
    counts adjustments of earlier bills in; the other sums are of this period alone.
    """

    bill: str
    from_day: date
    to_day: date
    cycle_days: int
    tax_point: date
    what_if: str | None
    determinants: tuple[Determinant, ...]
    lines: tuple[EnergyLine, ...]
    reactive: tuple[ReactiveLine, ...]
    energy_kwh: int
    energy_vnd: int
    reactive_vnd: int
    amount_vnd: int
    vat_percent_hundredths: int
    vat_vnd: int
    total_vnd: int
    tariffs: tuple[TariffUsed, ...]
    adjustments: tuple[Adjustment, ...] = ()

    @property
    def adjustments_vnd(self) -> int:
        """What is charged (below zero: given back) for earlier bills, tax included."""
        return sum(one.total_vnd for one in self.adjustments)


_CANONICAL = msgspec.json.Encoder(order="sorted")


def canonical_json(preview: BillPreview) -> bytes:
    """The preview as bytes: sorted keys, no spaces, UTF-8. Equal previews have equal bytes."""
    return _CANONICAL.encode(preview)


def preview_hash(preview: BillPreview) -> str:
    """The hexadecimal SHA-256 of the canonical JSON."""
    return hash_of(canonical_json(preview))


def hash_of(canonical: bytes) -> str:
    """The hash of a preview that is in its canonical form already."""
    return hashlib.sha256(canonical).hexdigest()
