"""Commands to gateways, and the events that gateways report.

A command is sent when the request is answered; what became of it is asked for afterwards. It must
not know how gateways are reached.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response, Security, status

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.models import (
    CommandList,
    CommandRequest,
    CommandResultView,
    CommandView,
    EventList,
    EventView,
)
from collector.errors import Conflict
from collector.operations import commands
from collector.operations.commands import Wanted
from collector.operations.keys import KeyIdentity, Scope
from collector.web.context import ContextParameter
from collector.web.parameters import NamePath
from collector.web.problems import responses
from contract.limits import NAME_CHARS_MAX

router = APIRouter(prefix="/gateways/{gateway}", tags=["gateways"])

CommandId = Annotated[str, Path(min_length=1, max_length=NAME_CHARS_MAX)]
NewestQuery = Annotated[int, Query(ge=1, le=commands.LIST_MAX, description="at most so many")]


@router.post(
    "/commands",
    status_code=status.HTTP_202_ACCEPTED,
    summary="Send a command",
    responses=responses(400, 404, 409, 413, 422),
)
def send_command(
    gateway: NamePath,
    wanted: CommandRequest,
    response: Response,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.COMMAND))],
    idempotency_key: IdempotencyHeader = None,
) -> CommandView:
    """Send one command; its result is had from the address in `Location`.

    With an `Idempotency-Key` the same request again is the same command, not another one.
    """
    if context.sender is None:
        raise Conflict(
            "this collector commands no gateways",
            hint="give the collector file a section 'commands' (docs/commands.md)",
            code="commands_off",
        )
    sent = commands.send_command(
        context.ledger,
        context.sender,
        Wanted(
            gateway,
            wanted.kind,
            wanted.meters,
            key.name,
            wanted.lifetime_s or context.command_lifetime_s,
        ),
        context.now(),
        once(key.name, idempotency_key, f"command {gateway}", wanted),
    )
    response.headers["Location"] = f"/v1/gateways/{gateway}/commands/{sent.command.id}"
    return _view(sent)


@router.get(
    "/commands",
    summary="Commands that were sent",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def list_commands(
    gateway: NamePath,
    context: ContextParameter,
    limit: NewestQuery = 50,
    after: Annotated[
        str | None,
        Query(min_length=1, max_length=NAME_CHARS_MAX, description="`next` of the page before"),
    ] = None,
) -> CommandList:
    """The newest commands of a gateway first."""
    found = commands.list_commands(
        context.ledger, gateway=gateway, limit=limit + 1, now=context.now(), after=after
    )
    return CommandList(
        commands=[_view(view) for view in found[:limit]],
        next=found[limit - 1].command.id if len(found) > limit else None,
    )


@router.get(
    "/commands/{command}",
    summary="One command and its result",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def get_command(gateway: NamePath, command: CommandId, context: ContextParameter) -> CommandView:
    """How far it has come, and what the gateway answered."""
    found = commands.get_command(
        context.ledger, gateway=gateway, command=command, now=context.now()
    )
    return _view(found)


@router.get(
    "/events",
    summary="What a gateway reported",
    dependencies=[Security(needs(Scope.READ))],
    responses=responses(404),
)
def list_events(gateway: NamePath, context: ContextParameter, limit: NewestQuery = 50) -> EventList:
    """The newest events of a gateway first: commands, configurations, clock jumps …"""
    found = commands.list_events(context.ledger, gateway=gateway, limit=limit)
    return EventList(events=[EventView.model_validate(event) for event in found])


def _view(view: commands.CommandView) -> CommandView:
    stored = view.command
    result = None
    if stored.answered_at is not None:
        result = CommandResultView(
            ok=bool(stored.ok),
            code=stored.code or "",
            text=stored.text or "",
            detail=dict(stored.detail or {}),
            answered_at=stored.answered_at,
        )
    return CommandView(
        id=stored.id,
        gateway=stored.gateway,
        kind=stored.kind,
        meters=stored.arguments.get("meters"),
        issuer=stored.issuer,
        issued_at=stored.issued_at,
        expires_at=stored.expires_at,
        state=view.state.value,
        result=result,
        event=None if view.event is None else EventView.model_validate(view.event),
    )
