"""Ingest: health events from a queue, each taken in before its record counts as done.

The body of a record is an event as EventBridge delivers it, or its bare detail (docs/events.md). What is invalid goes
to the dead-letter queue at once, with the reason, and is done: sending it again could not help. What the store did not
take is a batch item failure, and SQS delivers it again; ingesting twice is the same as once.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_DEAD_LETTERS, the URL of the dead-letter queue
(without one, what is invalid is a batch item failure as well, and the queue's own redrive policy decides).
"""

import os
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
from pointsman.model.events import read_event
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest
from pointsman.store.open import open_store

LONGEST_REASON = 1000
"""Characters of the reason that travel with a dead letter; the log line has all of it."""

logger = Logger(service="ingest")
metrics = Metrics(namespace="Pointsman", service="ingest")
# Even a batch that failed as a whole is reported record by record: a raised error would count against the function.
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)

if not os.environ.get("POINTSMAN_STORE"):
    raise PointsmanError("POINTSMAN_STORE is not set: name the bucket, as s3://bucket/prefix")
engine = Engine(open_store(os.environ["POINTSMAN_STORE"]))
dead_letters = os.environ.get("POINTSMAN_DEAD_LETTERS", "")
sqs = boto3.client("sqs", config=Config(connect_timeout=2, read_timeout=5))


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """The Lambda function: an SQS event in, the records to deliver again out."""
    return process_partial_response(event, take_in, processor, context)


def take_in(record: SQSRecord) -> None:
    """Ingest the event in `record`, or refuse it. Raises whatever should make SQS deliver the record again."""
    logger.append_keys(message_id=record.message_id)
    logger.set_correlation_id(record.message_id)
    try:
        try:
            event = read_event(record.body)
        except InvalidInput as error:
            refuse(record, error)
            return
        logger.set_correlation_id(event.id or record.message_id)
        done = ingest(engine, event)
    except Exception as error:
        count("EventsFailed")
        # What the project raises itself says all there is to say; anything else is a defect or a missing permission.
        logger.warning(
            "failed, to be delivered again", reason=str(error), exc_info=not isinstance(error, PointsmanError)
        )
        raise
    count("EventsIngested")
    count("EventsDuplicate", not done.changed)
    count("SnapshotsPublished", len(done.moved))
    if done.moved:
        moved = [f"{head.plan_key} v{head.version}" for head in done.moved]
        logger.info("published", source=event.source, index=event.index, revision=done.revision, moved=moved)


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
