"""A station's energy balance: received, sold, lost, for a period or day by day.

Computed from the ledger's indices when asked; what is billed is frozen in a snapshot.
"""

from datetime import date

from fastapi import APIRouter, Security
from fastapi.responses import StreamingResponse

from collector.api.auth import needs
from collector.api.models import BalanceView, DayBalanceList, DayBalanceView
from collector.balance.export import balance_csv
from collector.balance.station import DayBalance
from collector.operations import balances
from collector.operations.keys import Scope
from collector.web.context import Context, ContextParameter
from collector.web.parameters import Day, FromQuery, NamePath, ToQuery, check_range
from collector.web.problems import responses

router = APIRouter(
    prefix="/stations/{station}", tags=["balance"], dependencies=[Security(needs(Scope.READ))]
)


@router.get("/balance", summary="Balance of a period", responses=responses(404))
def balance(
    station: NamePath, context: ContextParameter, from_at: FromQuery, to_at: ToQuery
) -> BalanceView:
    """Energy received, sold and lost between two instants."""
    check_range(from_at, to_at)
    found = balances.period_balance(context.ledger, station=station, from_at=from_at, to_at=to_at)
    return BalanceView.model_validate(found)


@router.get("/daily-balance", summary="Balance day by day", responses=responses(404))
def daily_balance(
    station: NamePath, context: ContextParameter, first_day: Day, last_day: Day
) -> DayBalanceList:
    """One row a civil day of the utility's zone, both ends included."""
    found = _daily(context, station, first_day, last_day)
    return DayBalanceList(station=station, zone=context.zone, days=[_day(row) for row in found])


@router.get(
    "/daily-balance.csv",
    summary="Balance day by day as CSV",
    response_class=StreamingResponse,
    responses=responses(404) | {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def daily_balance_csv(
    station: NamePath, context: ContextParameter, first_day: Day, last_day: Day
) -> StreamingResponse:
    """The same in UTF-8 with a header row; what is not known is an empty cell."""
    found = _daily(context, station, first_day, last_day)
    return StreamingResponse(balance_csv(found), media_type="text/csv; charset=utf-8")


def _daily(context: Context, station: str, first_day: date, last_day: date) -> list[DayBalance]:
    return balances.daily_balances(
        context.ledger,
        station=station,
        first_day=first_day,
        last_day=last_day,
        zone=context.zone,
    )


def _day(row: DayBalance) -> DayBalanceView:
    return DayBalanceView(day=row.day, **BalanceView.model_validate(row.balance).model_dump())
