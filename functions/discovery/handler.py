"""Discovery: REST xDS at the function's URL (IAM authentication), for Envoys that have no adapter to ask.

    POST /v3/discovery:clusters, /v3/discovery:endpoints, /v3/discovery:listeners
    GET  /healthz

As an adapter answers, except that nothing is held: 200 with what is newer than the request's `version_info`, else 304
(docs/envoy.md). 400 is malformed, 404 not registered, 413 too large; 503 means that what there is cannot be read, and
the Envoy keeps what it has, as it does in all of these cases. Nobody is made to wait for a refusal either, since a
function is paid for while it waits: the bootstrap's refresh delay is what paces an Envoy.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_REFRESH_DELAY, the seconds from an answer to
the next request for the same endpoints.
"""

import gc

gc.disable()  # until all is imported, none of which is garbage: to look for some is a tenth of a cold start

import os
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response, content_types
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pointsman.aws.snapstart import around_the_snapshot
from pointsman.delivery.endpoint_source import XDS_CLUSTER, over_rest
from pointsman.delivery.secret_source import read_sds, with_sds
from pointsman.discovery.answers import Kind
from pointsman.discovery.request import MAX_BODY, DiscoveryRequest, read_request
from pointsman.discovery.stateless import Discovery, NotReady, NotRegistered, Outcome
from pointsman.discovery.version import Version
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.store.open import open_bucket

LARGEST_ANSWER = 6_000_000
"""Bytes: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html, 6 MB for a synchronous answer."""

REQUEST_TIMEOUT_MS = 15_000
"""How long an Envoy waits for endpoints: longer than the function may take."""

LONGEST_ID = 128
"""Characters of an Envoy's id that get into the log."""

WARMING = 1.5
"""Seconds that clusters take after they came, for their own first request. Polls are twice the delay apart at most."""

logger = Logger(service="discovery")
metrics = Metrics(namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Pointsman"), service="discovery")
app = LambdaFunctionUrlResolver()

if not os.environ.get("POINTSMAN_STORE"):
    raise PointsmanError("POINTSMAN_STORE is not set: name the bucket, as s3://bucket/prefix")
refresh_delay_ms = round(float(os.environ.get("POINTSMAN_REFRESH_DELAY") or 5) * 1000)
sds = os.environ.get("POINTSMAN_SDS", "")
discovery = Discovery(
    open_bucket(os.environ["POINTSMAN_STORE"], hurried=True),
    with_sds(over_rest(XDS_CLUSTER, refresh_delay_ms, REQUEST_TIMEOUT_MS), read_sds(sds, "Sds") if sds else None),
    settle=2 * refresh_delay_ms / 1000 + WARMING,
)
around_the_snapshot()
gc.enable()


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda function: a request to its URL in, the answer out."""
    try:
        return app.resolve(event, context)
    finally:
        # Nearly all requests change nothing, and a line about each would cost more than answering it.
        if metrics.metric_set:
            metrics.flush_metrics()


@app.get("/healthz")
def healthz() -> Response[str]:
    """Whether the function answers at all."""
    return answer(200, b'{"alive":true}')


def answering(kind: Kind) -> Callable[[], Response[str]]:
    """What answers requests for `kind`."""

    def respond() -> Response[str]:
        event = app.current_event
        text = event.body or ""
        # What is no text of UTF-8 comes in base64, and what is no text of anything is for the parser to refuse.
        try:
            body = b64decode(text) if event.is_base64_encoded else text.encode(errors="surrogatepass")
        except ValueError as error:
            return refused(400, f"the request is no base64: {error}")
        if len(body) > MAX_BODY:
            return refused(413, f"the request is larger than {MAX_BODY} bytes")
        request = read_request(kind, body)
        logger.append_keys(proxy=str(request.asker.proxy), node=request.asker.node_id[:LONGEST_ID], kind=kind.value)
        return told(request, discovery.answer(request))

    return respond


for each in Kind:
    app.post(f"/v3/discovery:{each.value}")(answering(each))


def told(request: DiscoveryRequest, outcome: Outcome) -> Response[str]:
    """An outcome to an Envoy; what is not everyday also to the log and the metrics."""
    if outcome.unreachable:
        logger.warning("the store is away, what is known stays", reason=outcome.unreachable)
        count("DiscoveryStale")
    if outcome.ahead:
        logger.warning("the Envoy has something newer, and the store could not be read for it", version=request.version)
        count("DiscoveryAhead")
    for reset in outcome.resets:
        logger.warning("reset: the store itself was read, and it is so there now", what=reset)
        count("DiscoveryReset")
    if outcome.answer is None:
        return answer(304, b"")
    body = outcome.answer.body
    if len(body) > LARGEST_ANSWER:
        logger.error("an answer is too large", bytes=len(body))
        count("DiscoveryFailed")
        reason = f"{len(body)} bytes are more than a function may answer; `pointsman adapter grpc` has no such limit"
        return answer(503, orjson.dumps({"error": reason}))
    logger.info("answered", asked=request.name, version=outcome.answer.text)
    count("DiscoveryAnswered")
    if Version.read(request.version) is not None:
        late(outcome.answer.published)
    return answer(200, body)


@app.exception_handler(InvalidInput)  # type: ignore[untyped-decorator]
def invalid(error: InvalidInput) -> Response[str]:
    """No Envoy asks like this."""
    return refused(400, str(error))


@app.exception_handler(NotRegistered)  # type: ignore[untyped-decorator]
def unknown(error: NotRegistered) -> Response[str]:
    """Somebody else's Envoy, or one that came before its registration."""
    return refused(404, str(error))


@app.exception_handler(NotReady)  # type: ignore[untyped-decorator]
def failed(error: NotReady) -> Response[str]:
    """The store is away, or damaged."""
    logger.warning("failed", reason=str(error))
    count("DiscoveryFailed")
    return answer(503, orjson.dumps({"error": str(error)}))


def refused(code: int, reason: str) -> Response[str]:
    """A refusal that asking again does not change."""
    logger.warning("refused", reason=reason)
    count("DiscoveryRefused")
    return answer(code, orjson.dumps({"error": reason}))


def late(published: str) -> None:
    """Note how long it took from the publication of a change to its delivery, where that is known."""
    try:
        lag = (datetime.now(UTC) - datetime.fromisoformat(published)).total_seconds() * 1000
    except (TypeError, ValueError):
        return
    metrics.add_metric("DeliveryLag", MetricUnit.Milliseconds, max(0.0, lag))


def count(name: str) -> None:
    """Add one to a metric of this invocation."""
    metrics.add_metric(name, MetricUnit.Count, 1)


def answer(code: int, body: bytes) -> Response[str]:
    """An answer in JSON."""
    return Response(status_code=code, content_type=content_types.APPLICATION_JSON, body=body.decode())


if os.environ.get("POWERTOOLS_TRACE_DISABLED") == "false":
    # X-Ray's recorder takes as long to import as half of the rest, so it is there only where it is wanted.
    from aws_lambda_powertools import Tracer

    tracer = Tracer(service="discovery", patch_modules=["botocore"])
    handler = tracer.capture_lambda_handler(handler, capture_response=False)
