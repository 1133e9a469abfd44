"""The `Idempotency-Key` of a request that must not be done twice when it is sent twice.

It must not know what a request does; the ledger remembers what the first one made.
"""

import hashlib
from typing import Annotated

from fastapi import Header
from pydantic import BaseModel

from collector.ledger.idempotency import Once

IdempotencyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="chosen by the caller, new for each new request; remembered for 7 days",
    ),
]


def once(actor: str, token: str | None, kind: str, request: BaseModel) -> Once | None:
    """What the ledger is to remember of a request of this kind; None where it has no token."""
    if token is None:
        return None
    document = f"{kind}\n{request.model_dump_json()}"
    return Once(actor, token, hashlib.sha256(document.encode()).hexdigest())
