"""What deciding findings takes of a request, whether a program sent it or a person.

It must not know a route, a page or what a decision does.
"""

from collector.errors import Conflict, InvalidRequest
from collector.ledger.findings import Decision, FindingFilter
from collector.ledger.idempotency import Once
from collector.operations.deciding import DecidedAt, Deciding
from collector.web.context import Context


def place_of(
    context: Context, deciding: Deciding, once: Once | None, expected: int | None = None
) -> DecidedAt:
    """By what is decided now. Raises Conflict where gateways would be commanded and cannot be."""
    sends = deciding.decision is Decision.RE_READ and expected != 0
    if sends and context.sender is None:
        raise Conflict(
            "this collector commands no gateways",
            hint="give the collector file a section 'commands' (docs/commands.md)",
            code="commands_off",
        )
    book = context.limits()
    return DecidedAt(book, context.zone, context.now(), context.sender, expected, once)


def refuse_everything(wanted: FindingFilter) -> None:
    """Raises InvalidRequest for a filter that narrows nothing."""
    if wanted == FindingFilter():
        raise InvalidRequest("that would decide every open finding", hint="give a filter")
