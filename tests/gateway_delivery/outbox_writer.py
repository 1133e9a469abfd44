"""A process that commits batches as fast as it can until it is killed; run by the kill test.

Prints each seq after its commit has returned: what was printed must be there afterwards.
"""

import sys
from pathlib import Path

from gateway.outbox_values import SlotDone
from tests.gateway_delivery.building import at, open_outbox, scan_draft


def main() -> None:
    outbox = open_outbox(Path(sys.argv[1]), int(sys.argv[2]))
    minute = int(sys.argv[2]) * 100_000
    while True:
        minute += 1
        drafts = [scan_draft(minute, filler=4_000), scan_draft(minute, index=True)]
        keys = outbox.append(drafts, at=at(minute), done=[SlotDone(at(minute))])
        # The test reads it: a commit that was told must be found.
        print(keys[-1].seq, minute, flush=True)  # noqa: T201 as said


if __name__ == "__main__":
    main()
