"""What a district run prints and writes: what happened, whether it is true, how long it took.

It knows columns and words; every figure is the run's.
"""

import hashlib
import json
from pathlib import Path

from rich.table import Table

from collector.billing.bill_values import BillSetHead
from songlo.demo.district.check import Check
from songlo.demo.district.office import PeriodOutcome
from songlo.demo.district.run import DistrictOutcome

WRONG_SHOWN = 5


def summary(outcome: DistrictOutcome) -> Table:
    """What was delivered and billed."""
    options, counts = outcome.options, outcome.counts
    result = Table(
        title=f"{options.stations} stations, {len(outcome.district.points):,} points, "
        f"{options.boundaries[0]:%d/%m/%Y} to {options.boundaries[-1]:%d/%m/%Y}",
        title_justify="left",
        show_header=False,
    )
    result.add_column()
    result.add_column(justify="right")
    rows = [
        ("Batches sent, and sent twice", f"{counts.batches:,}, {counts.sent_twice:,}"),
        ("Batches stored, duplicates", _stored(outcome)),
        ("Meter reads", f"{counts.reads:,}"),
        ("Missing with a reason, in gaps", f"{counts.missing:,}, {counts.in_gaps:,}"),
    ]
    for period in outcome.periods:
        rows += _period_rows(period)
    least, most = (value / 10 for value in outcome.line_loss_permille)
    rows.append(("Lost in the lines of a station", f"{least:.1f} % to {most:.1f} %"))
    for row in rows:
        result.add_row(*row)
    return result


def verdicts(outcome: DistrictOutcome) -> Table:
    """What was held against the truth, and whether it agrees."""
    result = Table(title="Held against what meters and lines really did", title_justify="left")
    result.add_column("what")
    result.add_column("compared", justify="right")
    result.add_column("differ", justify="right")
    for check in outcome.checks:
        style = None if check.holds else "red"
        result.add_row(check.name, f"{check.compared:,}", f"{len(check.wrong):,}", style=style)
    return result


def times(outcome: DistrictOutcome) -> Table:
    """How long each step took, and the most memory."""
    result = Table(title="How long it took", title_justify="left", show_header=False)
    result.add_column()
    result.add_column(justify="right")
    for step, seconds in outcome.timings.seconds.items():
        result.add_row(step, f"{seconds:,.2f} s")
    result.add_row("most memory", f"{outcome.peak_kb / 1024:,.0f} MiB")
    return result


def differences(check: Check) -> list[str]:
    """The first few differences of a check, for a person."""
    more = len(check.wrong) - WRONG_SHOWN
    shown = check.wrong[:WRONG_SHOWN]
    if not check.compared:
        return [f"{check.name}: there was nothing to compare"]
    return [f"{check.name}: {one}" for one in shown] + ([f"… and {more} more"] if more > 0 else [])


def write_outcome(outcome: DistrictOutcome, folder: Path) -> Path:
    """Write `district.json` into `folder`: counts, checks, seconds, memory."""
    document = {
        "stations": outcome.options.stations,
        "points": len(outcome.district.points),
        "interval_min": outcome.options.interval_min,
        "seed": outcome.options.seed,
        "boundaries": [day.isoformat() for day in outcome.options.boundaries],
        "batches": outcome.counts.batches,
        "reads": outcome.counts.reads,
        "thefts": outcome.district.thefts,
        "periods": [
            {
                "run": period.run,
                "versions": [one.sha256 for one in period.versions],
                "lines": len(period.lines),
                "exceptions": dict(period.exceptions),
                "estimated": period.estimated,
                "excluded": period.excluded,
                "bills": None if period.bills is None else period.bills.bill_count,
                "bills_refused": None if period.bills is None else period.bills.refused_count,
                "bills_total_vnd": None if period.bills is None else period.bills.total_vnd,
                "bills_sha256": None if period.bills is None else period.bills.sha256,
                "files": {
                    path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                    for path in period.files
                },
            }
            for period in outcome.periods
        ],
        "checks": [
            {"what": one.name, "compared": one.compared, "differ": len(one.wrong)}
            for one in outcome.checks
        ],
        "line_loss_permille": outcome.line_loss_permille,
        "seconds": {step: round(value, 3) for step, value in outcome.timings.seconds.items()},
        "peak_kb": outcome.peak_kb,
    }
    path = folder / "district.json"
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _period_rows(period: PeriodOutcome) -> list[tuple[str, str]]:
    name = f"{period.first:%d/%m} – {period.last:%d/%m}"
    changed = sum(map(len, period.changed_by[1:]))
    billed_kwh = sum(
        (line.billed or 0) for line in period.lines if line.register == "1-0:1.8.0"
    ) // 1000  # fmt: skip
    return [
        (f"{name}: versions, lines changed by later ones", f"{len(period.versions)}, {changed:,}"),
        (
            f"{name}: indices estimated, points left out",
            f"{period.estimated:,}, {len(period.excluded):,}",
        ),
        (f"{name}: billed", f"{billed_kwh:,} kWh"),
        *([] if period.bills is None else [_bills_row(name, period.bills)]),
    ]


def _bills_row(name: str, bills: BillSetHead) -> tuple[str, str]:
    counts = f"{bills.bill_count:,}, {bills.refused_count:,}"
    return f"{name}: bills, refused, in all", f"{counts}, {bills.total_vnd:,} đ"


def _stored(outcome: DistrictOutcome) -> str:
    return ", ".join(f"{outcome.stored.get(name, 0):,}" for name in ("stored", "duplicate"))
