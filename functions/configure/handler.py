"""Configure: the HTTP API (docs/api.md) at the function's URL (IAM authentication).

Whoever IAM lets in may do everything; the ARN of the user is noted beside what they do.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_NOTICES, the topic to which moved heads are
published (none without); POINTSMAN_DATACENTERS, those to compute for (all without); POINTSMAN_TRUST_DOMAIN, fixed by
the first write; POINTSMAN_ECS_TASKS, the services of ECS tasks as JSON (without it, only tasks whose events name their
service); POINTSMAN_QUEUE, the URL of the queue of events, for wakes.
"""

import gc

gc.disable()  # Off until all is imported: nothing is garbage yet, and collecting takes a tenth of a cold start.

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.utilities.typing import LambdaContext
from pointsman.api.refusals import refusal
from pointsman.api.request import Answer, Api, Declined, Request
from pointsman.api.routes import answer, import_all
from pointsman.aws.answer import LARGEST_ANSWER_BYTES
from pointsman.aws.deployed import deployed
from pointsman.aws.signals import Signals
from pointsman.aws.snapstart import around_the_snapshot, import_config
from pointsman.aws.start import start
from pointsman.model.errors import InvalidInput
from pointsman.model.grants import EVERYTHING, Grant
from pointsman.store.protocol import StoreUnavailable
from pointsman.store.session import new_client

if TYPE_CHECKING:
    from pointsman.model.sources.recognize import SourceSettings

signals = Signals("configure")
logger = signals.logger

in_force = {"deployed": deployed()}
started = start()
engine, environment = started.engine, started.environment
engine.witness = signals
# Only wakes need it.
sqs = cache(lambda: new_client(started.session, "sqs"))
around_the_snapshot(import_config, import_all, sqs)
gc.freeze()  # What a start made stays: no collection has to look at it again.
gc.enable()


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL, clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda function: takes a request to its URL and returns the answer."""
    try:
        request = request_of(event)
        done = answer(api, request)
        tell_of(request, done)
    except InvalidInput as error:
        done = refusal(error)
    finally:
        signals.flush()
    if len(done.data) > LARGEST_ANSWER_BYTES:
        done = refusal(Declined(413, f"{len(done.data)} bytes are too many for one answer; ask for one kind or dc"))
    headers = {"content-type": "application/json", **done.headers}
    return {"statusCode": done.status, "headers": headers, "body": done.data.decode()}


def request_of(event: Mapping[str, Any]) -> Request:
    """The request that Lambda hands over. Raises InvalidInput if its body is not what Lambda says."""
    http, text = event["requestContext"]["http"], event.get("body") or ""
    try:
        body = b64decode(text) if event.get("isBase64Encoded") else text.encode(errors="replace")
    except ValueError as error:
        raise InvalidInput.single("the body", "", f"is not base64: {error}") from None
    headers = {name.lower(): value for name, value in event.get("headers", {}).items()}
    query = event.get("rawQueryString", "")
    return Request(http["method"], unquote(event["rawPath"]), query, headers, body, grant_of(event))


def grant_of(event: Mapping[str, Any]) -> Grant:
    """What the sender may do: IAM has let them in."""
    iam = (event["requestContext"].get("authorizer") or {}).get("iam") or {}
    return replace(EVERYTHING, name=str(iam.get("userArn") or ""))


def tell_of(request: Request, done: Answer) -> None:
    """Log and count what became of a request."""
    body = done.body
    if done.status >= 500:
        logger.warning("failed", status=done.status, reason=body["error"])
        signals.count("ConfigFailed")
    elif done.status >= 400:
        logger.info("refused", status=done.status, problems=body.get("problems", [body["error"]]))
        signals.count("ConfigRefused")
    elif request.method not in ("GET", "HEAD"):
        tell_of_write(request, body)
        if "revision" in body:
            signals.count("EventsIngested")
            signals.count("EventsStale", bool(body["stale"]))
            signals.count("InstancesRefused", len(body["refused"]))


def tell_of_write(request: Request, body: Mapping[str, Any]) -> None:
    """Log and count what a request has changed."""
    moved = body.get("published") or body.get("moved") or []
    if body.get("changed") and not body.get("dry_run"):
        said = {name: body[name] for name in ("generation", "revision") if name in body}
        if engine.root.generation == body.get("generation") and engine.root.note.message:
            said["note"] = engine.root.note.message
        logger.info("changed", path=request.path, by=request.grant.name, published=len(moved), **said)
        signals.count("ConfigChanged", "generation" in body)
        signals.count("SnapshotsPublished", len(moved))
    signals.went_back(body.get("warnings", ()))
    if failed := body.get("failed"):
        logger.error("cannot be computed", reasons=failed)
        signals.count("HeadsFailed", len(failed))


def send_later(body: str, delay: int) -> None:
    """Send a message to the queue of events, to be delivered after so many seconds. Raises StoreUnavailable."""
    # Imported here: few requests need a wake.
    from botocore.exceptions import BotoCoreError, ClientError
    from pointsman.aws.wakes import sender

    try:
        sender(sqs(), environment.queue)(body, delay)
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailable(f"what was asked for is done, but no wake could be sent: {error}") from None


def wake_for_waits() -> None:
    """Send a wake for what waits, unless one stands that comes early enough."""
    from pointsman.aws.wait_wakes import arm

    arm(engine, send_later)


def wake_for_orders() -> None:
    """Send a wake for the next order that ends, unless one stands that comes early enough."""
    from pointsman.aws.order_wakes import arm

    arm(engine, send_later)


@cache
def sources() -> "SourceSettings":
    """What is said of the sources of events."""
    # Imported here: most requests are no events.
    from pointsman.model.sources.recognize import SourceSettings
    from pointsman.model.sources.task_claim import read_task_settings

    return SourceSettings(read_task_settings(environment.ecs_tasks))


api = Api(
    engine,
    sources,
    environment.trust_domain,
    more_status=lambda: in_force,
)
if environment.queue:
    engine.noted = wake_for_waits
    api = replace(api, ordered=wake_for_orders)

handler = signals.traced(handler)
