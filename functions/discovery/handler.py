"""Discovery: REST xDS at the function's URL (IAM authentication), for Envoys without an adapter.

    POST /v3/discovery:clusters, /v3/discovery:endpoints, /v3/discovery:listeners
    GET  /healthz

It answers as an adapter does but holds no polls: 200 with resources newer than the request's `version_info`, else 304
(docs/envoy.md). 400: malformed. 404: not registered. 413: too large. 503: the resources cannot be read, or this stack
does not compute for the Envoy's datacenter. After all of these the Envoy keeps what it has. Refusals are not delayed
either, because waiting in a function costs money: the refresh delay in the bootstrap paces an Envoy.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_DATACENTERS, those to compute for (empty:
all); POINTSMAN_REFRESH_DELAY, the seconds from an answer to the next request for the same endpoints.
"""

import gc

gc.disable()  # Off until all is imported: nothing is garbage yet, and collecting takes a tenth of a cold start.

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import orjson
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext
from pointsman.aws.answer import LARGEST_ANSWER_BYTES, json_answer
from pointsman.aws.environment import read_environment
from pointsman.aws.signals import Signals
from pointsman.aws.snapstart import around_the_snapshot
from pointsman.delivery.endpoint_source import XDS_CLUSTER, over_rest
from pointsman.delivery.response import ResourceKind
from pointsman.delivery.secret_source import read_sds, with_sds
from pointsman.discovery.request import MAX_BODY_BYTES, DiscoveryRequest, read_request
from pointsman.discovery.stateless import Discovery, NotReady, NotRegistered, Outcome
from pointsman.discovery.version import Version
from pointsman.model.errors import InvalidInput
from pointsman.store.open import open_bucket

REQUEST_TIMEOUT_MS = 15_000
"""Milliseconds that Envoy waits for endpoints: longer than the function may take."""

LONGEST_ID = 128
"""Characters of an Envoy's id in the log."""

WARMING_S = 1.5
"""Seconds that new clusters need for their own first request. Polls are at most twice the delay apart."""

signals = Signals("discovery")
logger = signals.logger

# By hand: powertools' router takes an eighth of a cold start, and there are four paths.
KINDS = {("POST", f"/v3/discovery:{each.label}"): each for each in ResourceKind}

environment = read_environment()
discovery = Discovery(
    open_bucket(environment.store, hurried=True),
    with_sds(
        over_rest(XDS_CLUSTER, environment.refresh_delay_ms, REQUEST_TIMEOUT_MS),
        read_sds(environment.sds, "Sds") if environment.sds else None,
    ),
    settle=2 * environment.refresh_delay_ms / 1000 + WARMING_S,
)
around_the_snapshot()
gc.freeze()  # What a start made stays: no collection has to look at it again.
gc.enable()


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda function: takes a request to its URL and returns the answer."""
    try:
        return answer_to(event)
    except InvalidInput as error:
        # No Envoy sends such a request.
        return refused(400, str(error))
    except NotRegistered as error:
        # Another mesh's Envoy, or one whose registration does not exist yet.
        return refused(404, str(error))
    except NotReady as error:
        # The store is unavailable or damaged.
        logger.warning("failed", reason=str(error))
        signals.count("DiscoveryFailed")
        return json_answer(503, orjson.dumps({"error": str(error)}))
    finally:
        # Nearly all requests change nothing, and a log line for each would cost more than its answer.
        signals.flush()


def answer_to(event: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a request. Raises InvalidInput, NotRegistered or NotReady if there is none."""
    asked = (event["requestContext"]["http"]["method"], event["rawPath"])
    if asked == ("GET", "/healthz"):
        return json_answer(200, b'{"alive":true}')
    kind = KINDS.get(asked)
    if kind is None:
        return json_answer(404, b'{"error":"there is nothing at this path"}')
    text = event.get("body") or ""
    # A body that is not UTF-8 text arrives in base64; the parser refuses it if it is not JSON.
    try:
        body = b64decode(text) if event.get("isBase64Encoded") else text.encode(errors="surrogatepass")
    except ValueError as error:
        return refused(400, f"the request is no base64: {error}")
    if len(body) > MAX_BODY_BYTES:
        return refused(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
    request = read_request(kind, body)
    proxy, scope = request.asker.proxy, environment.scope
    if not scope.has(proxy.datacenter):
        # Envoy counts this status as a failure of this address: where it has several, it goes on to the next one.
        return refused(503, f"{proxy} is not served here, only {', '.join(scope.datacenters)}; ask another stack")
    logger.append_keys(proxy=str(request.asker.proxy), node=request.asker.node_id[:LONGEST_ID], kind=kind.label)
    return told(request, discovery.answer(request))


def told(request: DiscoveryRequest, outcome: Outcome) -> dict[str, Any]:
    """The answer to an Envoy for an outcome; unusual outcomes are also logged and counted."""
    if outcome.unreachable:
        logger.warning("the store is unavailable, everything stays unchanged", reason=outcome.unreachable)
        signals.count("DiscoveryStale")
    if outcome.ahead:
        logger.warning("the Envoy has something newer, and the store could not be read for it", version=request.version)
        signals.count("DiscoveryAhead")
    for reset in outcome.resets:
        logger.warning("reset: the store itself was read, and has this now", what=reset)
        signals.count("DiscoveryReset")
    if outcome.answer is None:
        return json_answer(304, b"")
    body = outcome.answer.body_for(request.asker.host)
    if len(body) > LARGEST_ANSWER_BYTES:
        logger.error("an answer is too large", bytes=len(body))
        signals.count("DiscoveryFailed")
        reason = f"{len(body)} bytes are more than a function may answer; `pointsman adapter grpc` has no such limit"
        return json_answer(503, orjson.dumps({"error": reason}))
    logger.info("answered", asked=request.name, version=outcome.answer.text)
    if request.kind is ResourceKind.LISTENERS and (why := outcome.answer.unreached(request.asker.host)):
        logger.warning("intentions do not reach an Envoy", reason=why)
    signals.count("DiscoveryAnswered")
    if Version.read(request.version) is not None:
        signals.lag_since("DeliveryLag", outcome.answer.published)
    return json_answer(200, body)


def refused(code: int, reason: str) -> dict[str, Any]:
    """Answer a refusal that asking again would not change."""
    logger.warning("refused", reason=reason)
    signals.count("DiscoveryRefused")
    return json_answer(code, orjson.dumps({"error": reason}))


handler = signals.traced(handler)
