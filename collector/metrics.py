"""The collector's own numbers, for Prometheus.

Owns their names and meanings; it must not know who counts them, nor how they are served.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """Counters and gauges of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batches = Counter(
            "songlo_intake_batches",
            "Batches by what became of them: stored, duplicate, quarantined, conflict, evidence.",
            ["outcome"],
            registry=self.registry,
        )
        self.reads = Counter(
            "songlo_intake_reads", "Meter reads appended to the store.", registry=self.registry
        )
        self.refused = Counter(
            "songlo_intake_refused", "Meter reads refused by the store.", registry=self.registry
        )
        self.index_conflicts = Counter(
            "songlo_intake_index_conflicts",
            "Index reads that contradict a stored one.",
            registry=self.registry,
        )
        self.lost_batches = Counter(
            "songlo_intake_lost_batches",
            "Batches that statuses prove to be lost.",
            registry=self.registry,
        )
        self.dropped = Counter(
            "songlo_intake_dropped",
            "Batches let go of for want of room; their gateways send them again.",
            ["where"],
            registry=self.registry,
        )
        self.statuses = Counter(
            "songlo_intake_statuses",
            "Statuses by what became of them: taken, rejected.",
            ["outcome"],
            registry=self.registry,
        )
        self.acks = Counter("songlo_intake_acks", "Acks published.", registry=self.registry)
        self.seconds = Histogram(
            "songlo_intake_seconds",
            "Seconds that a group of batches spends in a step: claim, append, complete.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.held = Gauge(
            "songlo_intake_held",
            "Batches that are in the ledger and wait for the reading store.",
            registry=self.registry,
        )
        self.connected = Gauge(
            "songlo_intake_connected", "1 while the broker is connected.", registry=self.registry
        )
        self.ledger_up = Gauge(
            "songlo_intake_ledger_up", "1 while the ledger takes writes.", registry=self.registry
        )
        self.store_up = Gauge(
            "songlo_intake_store_up",
            "1 while the reading store takes reads.",
            registry=self.registry,
        )
        self.daily_validations = Counter(
            "songlo_vee_daily",
            "Daily validations by what became of them: done, failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.daily_validated_at = Gauge(
            "songlo_vee_daily_done_timestamp_seconds",
            "When the daily validation was last done by this process, in seconds since 1970.",
            registry=self.registry,
        )
        self.daily_found = Gauge(
            "songlo_vee_daily_new_findings",
            "Findings that the last daily validation was the first to find.",
            registry=self.registry,
        )
