"""What the page of losses shows: a month's ranking, areas, masters, causes to check.

Gathered from the operations that the API uses too; it must not know HTTP, templates or languages.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from collector.balance.causes import Cause
from collector.balance.losses import AreaLoss, Band, MasterLoss, Standing, StationLoss
from collector.operations import losses
from collector.web.context import Context

# Of the stations that are not compared, and of the causes of one station, that are shown.
OTHERS_MAX = 200
CAUSES_MAX = 4

_BADGES = {
    Band.NEGATIVE: "bad",
    Band.LOW: "warn",
    Band.NORMAL: "good",
    Band.WARN: "warn",
    Band.ALARM: "bad",
    Band.UNKNOWN: "warn",
}


@dataclass(frozen=True, slots=True)
class LossRow:
    """One station: its loss, its place in the ranking if it has one, what to check first."""

    place: int | None
    loss: StationLoss
    causes: Sequence[Cause]

    @property
    def badge(self) -> str:
        """How the band is coloured."""
        return _BADGES[self.loss.band]


@dataclass(frozen=True, slots=True)
class LossPage:
    """A month's losses."""

    month: date
    rows: Sequence[LossRow]
    others: Sequence[LossRow]
    communes: Sequence[AreaLoss]
    units: Sequence[AreaLoss]
    masters: Sequence[MasterLoss]
    to_check: int


def last_month(today: date) -> date:
    """The first day of the last month that is over."""
    return (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def month_losses(context: Context, month: date) -> LossPage:
    """The losses of the month of a day, the largest unexplained first."""
    report = losses.district_losses(
        context.ledger, losses.month_period(month, context.zone), context.loss_settings
    )

    def row(place: int | None, loss: StationLoss) -> LossRow:
        found = report.causes.get(loss.station.station, ())
        return LossRow(place, loss, found[:CAUSES_MAX])

    ranked = {loss.station.station for loss in report.ranking}
    others = [
        loss
        for loss in report.stations
        if loss.station.station not in ranked and loss.standing is not Standing.BOUNDARY
    ]
    return LossPage(
        month=month.replace(day=1),
        rows=[row(place, loss) for place, loss in enumerate(report.ranking, 1)],
        others=[row(None, loss) for loss in others[:OTHERS_MAX]],
        communes=report.communes,
        units=report.units,
        masters=report.masters,
        to_check=len(report.causes),
    )
