"""What was found, as people and programs read it: a table, JSON, a piece of a station file.

Pure text. It must not search, nor know where the text goes.
"""

import json
from collections.abc import Iterable, Sequence

from gateway.lines.endpoints import Endpoint, Framing, IecEndpoint, SerialEndpoint
from gateway.search.values import Candidate, Found, Presence

_HEADINGS = ("line and settings", "address", "meter", "profile", "energy")
_FILL_IN = "FILL IN"
_NO_PROFILE = "FILL-IN"


def as_table(found: Sequence[Found]) -> str:
    """A row for each meter, under it what speaks for its profile and what is to be done."""
    rows = [_row(meter) for meter in found]
    widths = [max(len(row[i]) for row in [_HEADINGS, *rows]) for i in range(len(_HEADINGS))]
    lines = [_aligned(_HEADINGS, widths)]
    for meter, row in zip(found, rows, strict=True):
        lines.append(_aligned(row, widths))
        lines += [f"    {text}" for text in _notes(meter)]
    return "\n".join(lines)


def as_json(found: Iterable[Found]) -> str:
    """A list with an object for each meter."""
    return json.dumps([_object(meter) for meter in found], ensure_ascii=False)


def as_yaml(found: Sequence[Found]) -> str:
    """The `lines` of a station file; what only a person can know says FILL IN."""
    lines = ["lines:"]
    by_endpoint: dict[Endpoint | IecEndpoint, list[Found]] = {}
    for meter in found:
        by_endpoint.setdefault(meter.endpoint, []).append(meter)
    for number, (endpoint, meters) in enumerate(by_endpoint.items(), start=1):
        usable = [meter for meter in meters if meter.presence is not Presence.GARBLED]
        if not usable:
            continue
        lines += [f"  - name: line-{number}", f"    {_endpoint_key(endpoint)}", "    meters:"]
        for meter in usable:
            serial = meter.serial or _FILL_IN
            best = meter.best
            profile = best.profile.name if best else _NO_PROFILE
            order = f", order: {best.order.value}" if best and best.order else ""
            address = f'"{meter.address}"' if isinstance(meter.address, str) else meter.address
            where = "" if address == '""' else f"address: {address}, "
            lines.append(f'      - {{serial: "{serial}", {where}profile: {profile}{order}}}')
            lines += [f"        # {text}" for text in _notes(meter)]
    return "\n".join(lines)


def _row(meter: Found) -> tuple[str, ...]:
    best = meter.best
    if meter.presence is Presence.GARBLED:
        profile = "collision?"
    else:
        profile = best.profile.name if best else "unknown"
    said = " ".join(filter(None, (meter.identification, meter.serial and f"serial {meter.serial}")))
    address = str(meter.address) or "any"
    return str(meter.endpoint), address, said or "-", profile, meter.energy or "-"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _notes(meter: Found) -> list[str]:
    notes = list(meter.remarks)
    if meter.best is not None:
        notes.insert(0, _why(meter.best))
        notes += [f"or {_why(rival)}" for rival in meter.rivals]
        if meter.rivals:
            notes.append("these cannot be told apart from here: compare the type plate")
        if meter.energy:
            notes.append(f"its display must show {meter.energy}; if not, it is another model")
    return notes


def _why(candidate: Candidate) -> str:
    order = f", words in order {candidate.order.value}" if candidate.order else ""
    return f"{candidate.profile.model}{order}: {'; '.join(candidate.evidence)}"


def _object(meter: Found) -> dict[str, object]:
    return {
        "line": str(meter.endpoint),
        "address": meter.address,
        "presence": meter.presence.value,
        "round_trip_ms": round(1000 * meter.round_trip_s),
        "identification": meter.identification,
        "serial": meter.serial,
        "energy": meter.energy,
        "profiles": [
            {
                "profile": candidate.profile.name,
                "order": candidate.order.value if candidate.order else None,
                "certain": candidate.is_certain,
                "evidence": list(candidate.evidence),
                "as_good_as_best": candidate.score == meter.candidates[0].score,
            }
            for candidate in meter.candidates
        ],
        "remarks": meter.remarks,
    }


def _endpoint_key(endpoint: Endpoint | IecEndpoint) -> str:
    if isinstance(endpoint, IecEndpoint):
        characters = endpoint.characters.value
        return (
            f"iec62056_21: {{device: {endpoint.device}, baud: {endpoint.baud}, "
            f"characters: {characters}}}"
        )
    if isinstance(endpoint, SerialEndpoint):
        return (
            f"modbus_rtu: {{device: {endpoint.device}, baud: {endpoint.baud}, "
            f"parity: {endpoint.parity.value}, stop_bits: {endpoint.stop_bits}}}"
        )
    key = "modbus_tcp" if endpoint.framing is Framing.TCP else "modbus_rtu_over_tcp"
    return f'{key}: {{host: "{endpoint.host}", port: {endpoint.port}}}'
