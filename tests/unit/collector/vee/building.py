"""Subjects for tests of rules."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from collector.operations.vee_files import load_limits
from collector.vee.catalogue import BY_ID
from collector.vee.limits import Limits
from collector.vee.reads import DailyIndex, Origin, Read
from collector.vee.values import Finding, Subject
from contract.registers import IMPORT_ACTIVE

START = datetime(2026, 9, 30, 17, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
LIMITS: Limits = load_limits(None).of(None, None)
RATES = ("1-0:1.8.1", "1-0:1.8.2", "1-0:1.8.3")


def day(number: int) -> datetime:
    return START + number * DAY


def index(number: int, value: int, origin: Origin = Origin.SLOT) -> DailyIndex:
    return DailyIndex(day(number), value, day(number), origin)


def indices(values: Sequence[int | None]) -> list[DailyIndex | None]:
    return [None if value is None else index(n, value) for n, value in enumerate(values)]


def reads(values: Sequence[int], every: timedelta = DAY) -> list[Read]:
    return [Read(START + n * every, value, START + n * every) for n, value in enumerate(values)]


def subject(
    values: Sequence[int | None] | Mapping[str, Sequence[int | None]] = (),
    **facts: Any,  # noqa: ANN401  any of the subject's
) -> Subject:
    """A meter with these indices, of its active import register or by register."""
    if not isinstance(values, Mapping):
        values = {IMPORT_ACTIVE: values} if values else {}
    days = max((len(of_register) for of_register in values.values()), default=2)
    base: dict[str, Any] = {
        "point": "P",
        "meter": "M",
        "starts": [day(number) for number in range(days)],
        "installed_at": day(-30),
        "indices": {register: indices(of) for register, of in values.items()},
    }
    return Subject(**(base | facts))


def check(rule: str, of: Subject, limits: Limits = LIMITS) -> list[Finding] | None:
    return BY_ID[rule].check(of, limits.rules[rule])


def fires(rule: str, of: Subject, limits: Limits = LIMITS) -> list[Finding]:
    found = check(rule, of, limits)
    assert found is not None, f"{rule} did not apply"
    return found
