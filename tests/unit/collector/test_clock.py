"""The collector's clock gives instants as everything else takes them."""

from datetime import UTC, timedelta

from collector.clock import system_now


def test_the_present_is_in_whole_milliseconds() -> None:
    instants = [system_now() for _ in range(200)]
    assert all(at.microsecond % 1000 == 0 for at in instants)
    assert all(at.utcoffset() == timedelta(0) for at in instants)
    assert instants[0].tzinfo is UTC
