"""`python -m bench [FIGURE …]`: measure and print one JSON object a line.

It knows the figures' names and nothing of how they are measured.
"""

import argparse
import importlib
import sys
import time

# In this order; each is the module of the same name with a function `measure`.
FIGURES = (
    "store_alone_duckdb",
    "influx_alone",
    "intake_embedded",
    "intake_influx",
    "reconnect_storm",
    "snapshot_10k",
    "billing_run_10k",
    "bill_previews_10k",
    "bills_of_run_10k",
    "export_cmis_10k",
    "export_xlsx_10k",
    "vee_month_10k",
    "balance_district",
    "district",
    "district_postgres",
    "line_scan",
    "line_scan_dead",
    "scan_vs_single",
    "slot_energies",
    "gateway_rss",
    "gateway_cpu",
)


def main() -> int:
    """Measure what was asked for, or everything. 1 if a requirement is not met."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(FIGURES))
    names = parser.parse_args().figures or FIGURES
    if unknown := set(names).difference(FIGURES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(FIGURES)}")
    missed = []
    for name in names:
        started = time.monotonic()
        figure = importlib.import_module(f"bench.{name}").measure()
        sys.stdout.write(figure.to_json() + "\n")
        sys.stdout.flush()
        sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")
        if figure.met is False:
            missed.append(name)
    if missed:
        sys.stderr.write(f"not as required: {', '.join(missed)}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
