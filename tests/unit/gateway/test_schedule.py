"""Slots on the wall clock, over zones whose offset changes, and what missed ones are called."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from contract.messages import GapReason, ScanKind
from gateway.schedule import Schedule, Slot, slot_gaps

HANOI = ZoneInfo("Asia/Ho_Chi_Minh")
BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def hanoi(interval_min: int = 30, index_minutes: tuple[int, ...] = (0,)) -> Schedule:
    return Schedule(HANOI, interval_min, index_minutes)


def test_a_day_has_its_intervals_and_one_index_at_local_midnight() -> None:
    slots = hanoi().between(utc("2026-01-01T16:59:59"), utc("2026-01-02T16:59:59"))
    assert len(slots) == 48
    assert slots[0] == Slot(utc("2026-01-01T17:00"), ScanKind.INDEX)
    assert {slot.kind for slot in slots[1:]} == {ScanKind.INTERVAL}
    assert {b.at - a.at for a, b in pairwise(slots)} == {timedelta(minutes=30)}


def test_the_bounds_are_open_below_and_closed_above() -> None:
    at = utc("2026-01-01T17:00")
    assert hanoi().between(at, at) == []
    assert [slot.at for slot in hanoi().between(at, at + timedelta(minutes=30))] == [
        at + timedelta(minutes=30)
    ]


def test_an_index_between_two_intervals_is_a_slot_of_its_own() -> None:
    slots = hanoi(30, (10 * 60 + 10,)).between(utc("2026-01-01T02:59"), utc("2026-01-01T03:31"))
    assert [(slot.at.minute, slot.kind.value) for slot in slots] == [
        (0, "interval"),
        (10, "index"),
        (30, "interval"),
    ]


def test_days_on_which_clocks_change_have_no_slot_twice_and_none_too_few() -> None:
    berlin = Schedule(BERLIN, 30, (0, 150))  # an index at 02:30, which one day lacks, one has twice
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)):
        start = datetime.fromisoformat(day).replace(tzinfo=BERLIN).astimezone(UTC)
        after = start - timedelta(seconds=1)
        slots = berlin.between(after, after + timedelta(hours=hours))
        assert len(slots) == hours * 2
        assert len({slot.at for slot in slots}) == len(slots)
        assert sum(slot.kind is ScanKind.INDEX for slot in slots) == 2


@given(
    st.sampled_from([HANOI, BERLIN, ZoneInfo("America/Sao_Paulo"), ZoneInfo("Asia/Kathmandu")]),
    st.sampled_from([1, 5, 15, 30, 60, 240, 1440]),
    st.integers(0, 15 * 365 * 1440),
    st.integers(0, 60 * 72),
)
def test_the_next_slot_is_the_first_of_those_between(
    zone: ZoneInfo, interval_min: int, since_2015_min: int, minutes: int
) -> None:
    schedule = Schedule(zone, interval_min, (0, 90))
    start = utc("2015-01-01") + timedelta(minutes=since_2015_min)
    slots = schedule.between(start, start + timedelta(minutes=minutes))
    following = schedule.next_after(start)
    if slots:
        assert slots[0] == following
    else:
        assert following.at > start + timedelta(minutes=minutes)
    assert slots == sorted(slots)


def test_missed_slots_become_ranges_of_one_kind_and_distance() -> None:
    slots = hanoi().between(utc("2026-01-01T16:00"), utc("2026-01-03T17:00"))
    gaps = slot_gaps([(slot, GapReason.GATEWAY_DOWN) for slot in slots], ["m1", "m2"])
    assert [(g.kind.value, g.first, g.last, g.every_s) for g in gaps if g.kind == "index"] == [
        ("index", utc("2026-01-01T17:00"), utc("2026-01-03T17:00"), 86_400)
    ]
    assert all(gap.meters == ["m1", "m2"] for gap in gaps)


def test_a_single_missed_slot_has_no_distance() -> None:
    slot = Slot(utc("2026-01-01T17:30"), ScanKind.INTERVAL)
    (gap,) = slot_gaps([(slot, GapReason.OVERRUN)], ["m"])
    assert (gap.first, gap.last, gap.every_s) == (slot.at, slot.at, 0)


@given(st.lists(st.integers(0, 400), unique=True), st.data())
def test_ranges_name_exactly_the_missed_slots(numbers: list[int], data: st.DataObject) -> None:
    start = utc("2026-01-01T00:00")
    missed = [
        (
            Slot(start + timedelta(minutes=15 * n), data.draw(st.sampled_from(list(ScanKind)))),
            data.draw(st.sampled_from(list(GapReason))),
        )
        for n in sorted(numbers)
    ]
    said = []
    for gap in slot_gaps(missed, []):
        at = gap.first
        while at <= gap.last:
            said.append((Slot(at, gap.kind), GapReason(gap.reason)))
            at += timedelta(seconds=gap.every_s or 1)
    assert sorted(said) == sorted(missed)
