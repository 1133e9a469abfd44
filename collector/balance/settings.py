"""What the losses file says: thresholds, transformers, boundary meters, what is behind masters.

Owns keys, defaults and what is wrong with a text; it opens no file and must not know who asks.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from fractions import Fraction
from typing import Annotated

import msgspec

from collector.civil import day_start
from collector.errors import InvalidRequest
from collector.registry.values import HeadSide, Transformers
from contract.yaml_lines import YamlError, explain, load_yaml

# A district has hundreds; this bounds what a file can cost.
ROWS_MAX = 10_000

Percent = int | str
"""Per cent as an integer, or as text with a point: "0.5"."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Watts = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class LossesError(InvalidRequest):
    """A losses file that cannot be used; the text says file, line and key."""

    code = "losses_file"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Bands of the loss, in per cent of what was received; a sudden change in percentage points."""

    warn: Fraction = Fraction(8)
    alarm: Fraction = Fraction(12)
    low: Fraction = Fraction(1, 2)
    sudden: Fraction = Fraction(2)


@dataclass(frozen=True, slots=True)
class Transformer:
    """The transformers of a station from an instant on, until the next row of the station.

    `rated_kva` and both losses (W, at no load and at rated load) are of all of them together, which
    share the load by their rating. `load_factor` is mean over maximum load, `power_factor` cos φ.
    """

    station: str
    from_at: datetime
    head_side: HeadSide
    rated_kva: int = 0
    no_load_loss_w: int = 0
    load_loss_w: int = 0
    load_factor: Fraction = Fraction(1, 2)
    power_factor: Fraction = Fraction(9, 10)


@dataclass(frozen=True, slots=True)
class LossSettings:
    """The whole file. `boundaries`: points by unit; `behind`: stations by wholesale master."""

    thresholds: Thresholds = Thresholds()
    of_station: Mapping[str, Thresholds] = field(default_factory=dict)
    transformers: tuple[Transformer, ...] = ()
    boundaries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    behind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def thresholds_of(self, station: str) -> Thresholds:
        """What holds for a station."""
        return self.of_station.get(station, self.thresholds)

    def beside(self, rows: Iterable[Transformers]) -> "LossSettings":
        """With the registry's transformers of the stations of which the file says nothing."""
        own = {row.station for row in self.transformers}
        known = tuple(_together(row) for row in rows if row.station not in own)
        return replace(self, transformers=(*self.transformers, *known))


class _Bands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    warn_percent: Percent | None = None
    alarm_percent: Percent | None = None
    low_percent: Percent | None = None
    sudden_points: Percent | None = None


class _Transformer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    station: Name
    since: date = msgspec.field(name="from")
    head_side: HeadSide
    rated_kva: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    no_load_loss_w: Watts | None = None
    load_loss_w: Watts | None = None
    load_factor_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50
    power_factor_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 90


class _Boundary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    unit: Name
    points: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=ROWS_MAX)]


class _Master(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    point: Name
    stations: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=ROWS_MAX)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    thresholds: _Bands = _Bands()
    stations: Annotated[dict[str, _Bands], msgspec.Meta(max_length=ROWS_MAX)] = {}
    transformers: Annotated[tuple[_Transformer, ...], msgspec.Meta(max_length=ROWS_MAX)] = ()
    boundaries: Annotated[tuple[_Boundary, ...], msgspec.Meta(max_length=ROWS_MAX)] = ()
    masters: Annotated[tuple[_Master, ...], msgspec.Meta(max_length=ROWS_MAX)] = ()


def read_settings(text: str, where: str, zone: str) -> LossSettings:
    """The settings in the text of a losses file; days begin in `zone`.

    Raises LossesError with file, line and key of the first fault.
    """
    try:
        data, line_of = load_yaml(text, where)
        try:
            file = msgspec.convert(data, _File)
        except msgspec.ValidationError as error:
            raise explain(error, where, line_of) from error
        fault = next(_faults(file), None)
        if fault is not None:
            path, reason = fault
            raise YamlError(where, line_of(f"$.{path}"), f"$.{path}", reason)  # noqa: TRY301
    except YamlError as error:
        raise LossesError(str(error), hint="docs/balance.md has the keys") from error
    default = _bands(file.thresholds, Thresholds())
    return LossSettings(
        default,
        {name: _bands(bands, default) for name, bands in file.stations.items()},
        tuple(
            Transformer(
                row.station,
                day_start(row.since, zone),
                row.head_side,
                row.rated_kva or 0,
                row.no_load_loss_w or 0,
                row.load_loss_w or 0,
                Fraction(row.load_factor_percent, 100),
                Fraction(row.power_factor_percent, 100),
            )
            for row in file.transformers
        ),
        {row.unit: row.points for row in file.boundaries},
        {row.point: row.stations for row in file.masters},
    )


def _together(row: Transformers) -> Transformer:
    """The same transformers as one."""

    def of_all(value: int | None) -> int:
        return (value or 0) * row.count

    return Transformer(
        row.station,
        row.from_at,
        row.head_side,
        of_all(row.rated_kva),
        of_all(row.no_load_loss_w),
        of_all(row.load_loss_w),
    )


def transformer_cuts(
    rows: tuple[Transformer, ...], station: str, from_at: datetime, to_at: datetime
) -> list[tuple[Transformer | None, datetime, datetime]]:
    """The parts of a period under each row of a station; None before the first."""
    mine = sorted((row for row in rows if row.station == station), key=lambda row: row.from_at)
    parts: list[tuple[Transformer | None, datetime, datetime]] = []
    at, held = from_at, None
    for row in mine:
        if row.from_at <= from_at:
            held = row
        elif row.from_at < to_at:
            parts.append((held, at, row.from_at))
            at, held = row.from_at, row
    parts.append((held, at, to_at))
    return parts


def _bands(bands: _Bands, default: Thresholds) -> Thresholds:
    def of(value: Percent | None, other: Fraction) -> Fraction:
        return other if value is None else Fraction(value)

    return Thresholds(
        of(bands.warn_percent, default.warn),
        of(bands.alarm_percent, default.alarm),
        of(bands.low_percent, default.low),
        of(bands.sudden_points, default.sudden),
    )


def _faults(file: _File) -> Iterator[tuple[str, str]]:
    """What types cannot say."""
    yield from _of_bands(file)
    yield from _of_transformers(file.transformers)
    for section, key, names in (
        ("boundaries", "unit", [row.unit for row in file.boundaries]),
        ("masters", "point", [row.point for row in file.masters]),
    ):
        for place, name in enumerate(names):
            if name in names[:place]:
                yield f"{section}[{place}].{key}", f"{name} has a row already"


def _of_bands(file: _File) -> Iterator[tuple[str, str]]:
    sections = [("thresholds", file.thresholds)]
    sections += [(f"stations.{name}", bands) for name, bands in file.stations.items()]
    for path, bands in sections:
        for key in bands.__struct_fields__:
            value = getattr(bands, key)
            if value is not None and not _is_percent(value):
                yield f"{path}.{key}", f'{value!r} is no per cent from 0 to 100, as 8 or "0.5"'


def _of_transformers(rows: tuple[_Transformer, ...]) -> Iterator[tuple[str, str]]:
    seen: set[tuple[str, date]] = set()
    for place, row in enumerate(rows):
        path = f"transformers[{place}]"
        if (row.station, row.since) in seen:
            yield path, f"{row.station} has two rows from {row.since}"
        seen.add((row.station, row.since))
        if row.head_side is HeadSide.MV:
            for key in ("rated_kva", "no_load_loss_w", "load_loss_w"):
                if getattr(row, key) is None:
                    yield path, f"a head on the MV side needs {key}"


def _is_percent(value: Percent) -> bool:
    try:
        return 0 <= Fraction(value) <= 100
    except (ValueError, ZeroDivisionError):
        return False
