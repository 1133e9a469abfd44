"""The only place that reads this computer's clock. It must not know what the time is for."""

from datetime import UTC, datetime


def system_now() -> datetime:
    """Now, in UTC, to the second, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 this is the adapter
