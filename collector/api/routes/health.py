"""Whether the collector works, for probes, and its counters, for Prometheus: both without a key.

They say nothing of points, meters or people; it must not know what the counters count.
"""

from importlib.metadata import version

from fastapi import APIRouter, Response, status
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from collector.api.models import Health, HealthPart
from collector.errors import CollectorError
from collector.readings.port import StoreUnavailable
from collector.web.context import Context, ContextParameter

router = APIRouter(tags=["health"])

_OK = HealthPart(status="ok")

# Without these a collector is of no use, and is best started again; others come back by themselves.
_VITAL = {"ledger", "intake"}


@router.get(
    "/health",
    summary="Is the collector well?",
    responses={503: {"model": Health, "description": "The ledger cannot be used, or intake hangs"}},
)
def health(context: ContextParameter, response: Response) -> Health:
    """200 while ledger and intake work, `degraded` if only others of its parts do not; else 503.

    `broker` and `intake` are parts of a collector that takes batches itself, `validation` of one
    that validates each day.
    """
    parts = {"ledger": _ledger(context), "readings": _readings(context)}
    for troubles in (context.intake, context.validation):
        for name, detail in (troubles() if troubles is not None else {}).items():
            parts[name] = HealthPart(status="failing", detail=detail) if detail else _OK
    if any(name in _VITAL and part.status != "ok" for name, part in parts.items()):
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return Health(status="failing", version=version("songlo"), parts=parts)
    is_well = all(part.status == "ok" for part in parts.values())
    return Health(status="ok" if is_well else "degraded", version=version("songlo"), parts=parts)


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(context: ContextParameter) -> Response:
    """The text format of Prometheus."""
    registry = context.metrics_registry or CollectorRegistry()
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _ledger(context: Context) -> HealthPart:
    try:
        context.ledger.check_schema()
    except CollectorError as error:
        return HealthPart(status="failing", detail=f"{error}; {error.hint}")
    return _OK


def _readings(context: Context) -> HealthPart:
    now = context.now()
    try:
        # An empty range: the store must answer, and has nothing to count.
        context.store.count(now, now)
    except StoreUnavailable as error:
        return HealthPart(status="failing", detail=str(error))
    return _OK
