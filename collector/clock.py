"""The time, as the collector's parts are given it: a function that returns an aware UTC instant.

The only module of the collector that reads the computer's clock.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Now = Callable[[], datetime]


def system_now() -> datetime:
    """The present instant, in UTC, in whole milliseconds as all instants are."""
    now = datetime.now(UTC)  # noqa: TID251  the adapter through which everything else reads it
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
