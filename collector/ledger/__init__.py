"""What must never change: one ledger, one transaction at a time, values in and values out.

Its tables are private to this package; it must not know HTTP, MQTT or the store of readings.
"""

from collector.ledger.unit_of_work import Ledger, UnitOfWork

__all__ = ["Ledger", "UnitOfWork"]
