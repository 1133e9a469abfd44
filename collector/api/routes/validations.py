"""Validation, started by a request: the days of one station, or of all of them.

It must not know what a rule looks for.
"""

from typing import Annotated

from fastapi import APIRouter, Security

from collector.api.auth import needs
from collector.api.idempotency import IdempotencyHeader, once
from collector.api.vee_models import RuleCount, ValidationRequest, ValidationView
from collector.operations.keys import KeyIdentity, Scope
from collector.operations.validating import Asking, validate_period
from collector.operations.vee import VeeReport, VeeRun
from collector.vee.catalogue import BY_ID
from collector.web.context import ContextParameter
from collector.web.problems import responses

router = APIRouter(prefix="/validations", tags=["findings"])


@router.post(
    "",
    summary="Validate a period",
    responses=responses(400, 404, 409, 413, 422),
)
def validate(
    wanted: ValidationRequest,
    context: ContextParameter,
    key: Annotated[KeyIdentity, Security(needs(Scope.VEE))],
    idempotency_key: IdempotencyHeader = None,
) -> ValidationView:
    """Ask all rules about the daily indices of these days, at most 62, and keep what they find.

    It answers when it is done. Running again adds nothing. 409 `validation_running` while another
    one does.
    """
    run = VeeRun(
        wanted.first_day,
        wanted.last_day,
        context.zone,
        context.limits(),
        wanted.station,
        context.store if wanted.voltages else None,
    )
    asking = Asking(
        key.name,
        context.now(),
        wanted.dry_run,
        once(key.name, idempotency_key, "validation", wanted),
    )
    done = validate_period(context.ledger, run, asking, context.validating)
    return ValidationView(
        written=not wanted.dry_run,
        again=done.again,
        meters=done.meters,
        days_due=done.days_due,
        days_missing=done.days_missing,
        found=done.found,
        new=done.new,
        gone=done.gone,
        reopened=done.reopened,
        rules=None if done.report is None else _counts(done.report),
    )


def _counts(report: VeeReport) -> list[RuleCount]:
    return [
        RuleCount(rule=rule, found=report.found[rule], meters=report.applied[rule])
        for rule in BY_ID
    ]
