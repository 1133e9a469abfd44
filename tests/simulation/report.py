"""The figures of a long run, written into the document that shows them."""

from pathlib import Path

from tests.simulation.many import Tally

BEGIN = "<!-- figures: written by `make simulate SEEDS=… REPORT=docs/reliability.md` -->"
END = "<!-- end of figures -->"


def rewrite(document: Path, result: Tally, first: int) -> None:
    """Put the figures of `result` between the two marks of the document."""
    text = document.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    document.write_text(f"{before}{BEGIN}\n\n{figures(result, first)}\n{END}{after}", "utf-8")


def figures(result: Tally, first: int) -> str:
    """The table, as Markdown."""
    rows = [
        ("seeds", f"{result.seeds:,} (from {first} on)"),
        ("simulated time of gateways", f"{result.gateway_years:,.1f} years"),
        ("batches kept by outboxes", f"{result.batches:,}"),
        ("seeds with a violation", f"{len(result.failed):,}"),
        ("took", f"{result.took_s / 60:,.1f} minutes"),
    ]
    lines = ["| | |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows)]
    lines += ["", "| fault | injected |", "|---|---:|"]
    lines += [f"| {kind} | {count:,} |" for kind, count in sorted(result.faults.items())]
    return "\n".join(lines) + "\n"
