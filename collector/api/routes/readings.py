"""The readings of a meter over a range, from the reading store.

Raw reads as they came: what is billed is in a snapshot.
"""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query, Security

from collector.api.auth import needs
from collector.api.models import ReadingList, ReadingView
from collector.errors import InvalidRequest, NotFound
from collector.operations import registry_pages
from collector.operations.keys import Scope
from collector.readings.port import StoredRead
from collector.web.context import Context, ContextParameter
from collector.web.parameters import FromQuery, NamePath, ToQuery, check_range
from collector.web.problems import responses
from contract.quality import Quality
from contract.registers import BY_OBIS

READINGS_DEFAULT = 1_000
READINGS_MAX = 10_000
REGISTERS_MAX = 40

router = APIRouter(tags=["readings"], dependencies=[Security(needs(Scope.READ))])


@router.get(
    "/meters/{serial}/readings", summary="Readings of a meter", responses=responses(404, 503)
)
def readings(
    serial: NamePath,
    context: ContextParameter,
    from_at: FromQuery,
    to_at: ToQuery,
    register: Annotated[
        list[str], Query(max_length=REGISTERS_MAX, description="OBIS codes; none: all")
    ] = [],  # noqa: B006  FastAPI copies defaults
    limit: Annotated[int, Query(ge=1, le=READINGS_MAX)] = READINGS_DEFAULT,
) -> ReadingList:
    """Oldest first. More than `limit`: go on with `from` set to `next_from_at`."""
    check_range(from_at, to_at)
    wanted = _wanted(register)
    found = list(islice(context.store.readings(serial, from_at, to_at, limit + 1), limit + 1))
    if not found:
        _check_known(context, serial)
    views = [_view(read, wanted) for read in found[:limit]]
    codes = {code for view in views for code in view.values}
    return ReadingList(
        meter=serial,
        from_at=from_at,
        to_at=to_at,
        units={code: BY_OBIS[code].unit.value for code in sorted(codes)},
        readings=[view for view in views if view.values],
        next_from_at=found[limit].at if len(found) > limit else None,
    )


def _wanted(codes: list[str]) -> frozenset[str]:
    unknown = [code for code in codes if code not in BY_OBIS]
    if unknown:
        raise InvalidRequest(
            f"{unknown[0]!r} is no register", hint="give OBIS codes, as 1-0:1.8.0 for the import"
        )
    return frozenset(codes)


def _check_known(context: Context, serial: str) -> None:
    """Tells a meter that sent nothing in the range from one that nobody ever heard of."""
    if not registry_pages.knows_meter(context.ledger, serial):
        raise NotFound(
            f"there is no meter {serial!r} in the registry, and no reading of it in this range",
            hint="see `GET /v1/meters` and `GET /v1/meters/unassigned`",
        )


def _view(read: StoredRead, wanted: frozenset[str]) -> ReadingView:
    return ReadingView(
        at=read.at,
        quality=[bit.name.lower() for bit in Quality(read.quality) if bit.name],
        values={code: value for code, value in read.values.items() if not wanted or code in wanted},
    )
