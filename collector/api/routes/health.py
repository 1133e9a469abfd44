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


@router.get(
    "/health",
    summary="Is the collector well?",
    responses={503: {"model": Health, "description": "The ledger cannot be used"}},
)
def health(context: ContextParameter, response: Response) -> Health:
    """200 while the ledger answers, `degraded` if only the reading store does not; else 503."""
    parts = {"ledger": _ledger(context), "readings": _readings(context)}
    if parts["ledger"].status != "ok":
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
