"""Ingest: health events from a queue, each taken in before its record counts as done.

The body of a record is an event as EventBridge delivers it, or its bare detail (docs/events.md, docs/sources.md). What
is invalid goes to the dead-letter queue at once, with the reason, and is done: sending it again could not help. What
the store did not take is a batch item failure, and SQS delivers it again; ingesting twice is the same as once.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_DEAD_LETTERS, the URL of the dead-letter queue
(without one, what is invalid is a batch item failure as well, and the queue's own redrive policy decides);
POINTSMAN_ECS_TASKS, which ECS tasks are instances of what (JSON; without it, those whose events say so).
"""

import os
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from botocore.exceptions import ClientError
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.sources.pointer import MAX_LIST, ListsAt, Pointer
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognise import Settings, read_events, read_json
from pointsman.model.sources.task_claim import read_task_settings
from pointsman.model.sources.task_tags import TaskTags
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.store.open import open_store

LISTS = "incoming/"
"""Where in the store's bucket producers put the lists that are too long for the bus."""

LONGEST_REASON = 1000
"""Characters of the reason that travel with a dead letter; the log line has all of it."""

logger = Logger(service="ingest")
metrics = Metrics(namespace="Pointsman", service="ingest")
# Even a batch that failed as a whole is reported record by record: a raised error would count against the function.
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)

if not os.environ.get("POINTSMAN_STORE"):
    raise PointsmanError("POINTSMAN_STORE is not set: name the bucket, as s3://bucket/prefix")
engine = Engine(open_store(os.environ["POINTSMAN_STORE"]))
bucket, _, prefix = os.environ["POINTSMAN_STORE"].removeprefix("s3://").strip("/").partition("/")
settings = Settings(
    read_task_settings(os.environ.get("POINTSMAN_ECS_TASKS", "")),
    ListsAt(bucket, f"{prefix}/{LISTS}" if prefix else LISTS),
)
dead_letters = os.environ.get("POINTSMAN_DEAD_LETTERS", "")
limits = Config(connect_timeout=2, read_timeout=5)
sqs = boto3.client("sqs", config=limits)
s3 = boto3.client("s3", config=limits)
# Regions whose tasks' tags are asked for; most deployments have none.
ecs = cache(lambda region: boto3.client("ecs", region_name=region, config=limits))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """The Lambda function: an SQS event in, the records to deliver again out."""
    return process_partial_response(event, take_in, processor, context)


def take_in(record: SQSRecord, lambda_context: LambdaContext) -> None:
    """Ingest the event in `record`, or refuse it. Raises whatever should make SQS deliver the record again."""
    logger.append_keys(message_id=record.message_id)
    logger.set_correlation_id(record.message_id)
    try:
        try:
            reading = read(record.body, lambda_context.invoked_function_arn.split(":")[4])
        except InvalidInput as error:
            refuse(record, error)
            return
        if reading.passed_over:
            logger.info("passed over", reasons=reading.passed_over)
            count("EventsPassedOver", not reading.events)
        for event in reading.events:
            logger.set_correlation_id(event.id or record.message_id)
            done = ingest(engine, event)
            count("EventsIngested")
            count("EventsDuplicate", not done.changed)
            count("SnapshotsPublished", len(done.moved))
            if done.moved:
                moved = [f"{head.plan_key} v{head.version}" for head in done.moved]
                logger.info("published", source=event.source, index=event.index, revision=done.revision, moved=moved)
    except Exception as error:
        count("EventsFailed")
        # What the project raises itself says all there is to say; anything else is a defect or a missing permission.
        logger.warning(
            "failed, to be delivered again", reason=str(error), exc_info=not isinstance(error, PointsmanError)
        )
        raise


def read(body: str, account: str) -> Reading:
    """What the body of a record says, with everything in it that has to be fetched first."""
    reading = read_events(read_json(body), settings)
    while reading.missing is not None:
        reading = read_events(fetched(reading.missing, account), settings)
    return reading


def fetched(missing: Pointer | TaskTags, account: str) -> dict[str, Any]:
    """The event with what it misses. Raises ClientError where it cannot be fetched for now, or may not be."""
    if isinstance(missing, TaskTags):
        if missing.account != account:
            return missing.filled(())  # ECS answers nobody else's account
        ask = {"cluster": missing.cluster, "tasks": [missing.task], "include": ["TAGS"]}
        tasks = _unless_absent(["ClusterNotFoundException"], lambda: ecs(missing.region).describe_tasks(**ask)["tasks"])
        return missing.filled([tag for task in tasks or () for tag in task.get("tags", ())])
    bucket, key, upto = missing.bucket, missing.key, f"bytes=0-{MAX_LIST}"
    return missing.filled(
        # An empty object has no range.
        _unless_absent(
            ["NoSuchKey", "InvalidRange"],
            lambda: s3.get_object(Bucket=bucket, Key=key, Range=upto)["Body"].read(),
        )
    )


def _unless_absent(codes: Sequence[str], ask: Callable[[], Any]) -> Any:
    """The answer to `ask`, None where AWS says with one of `codes` that what is asked for is not there."""
    try:
        return ask()
    except ClientError as error:
        if error.response["Error"]["Code"] in codes:
            return None
        raise


def refuse(record: SQSRecord, error: InvalidInput) -> None:
    """Put `record` among the dead letters, its body as it came. Raises `error` where there is no queue for them."""
    if not dead_letters:
        raise error
    # SQS refuses a message with characters that XML does not have, and a reason may quote one.
    reason = "".join(char if char.isprintable() else "?" for char in str(error)[:LONGEST_REASON])
    attributes = {"reason": reason, "message-id": record.message_id}
    try:
        sqs.send_message(
            QueueUrl=dead_letters,
            MessageBody=record.body,
            MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
        )
    except ClientError as refusal:
        if not refusal.response["Error"]["Code"].startswith("InvalidParameterValue"):
            raise
        # Attributes count towards the largest message, and the body alone may be one already.
        sqs.send_message(QueueUrl=dead_letters, MessageBody=record.body)
    logger.error("refused", reason=str(error))
    count("EventsRefused")


def count(name: str, value: int = 1) -> None:
    """Add to a metric of this invocation."""
    if value:
        metrics.add_metric(name, MetricUnit.Count, value)
