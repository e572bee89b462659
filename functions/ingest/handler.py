"""Ingest: health events and uploaded config from a queue. A record is acknowledged when its events are ingested.

The body of a record is an event as EventBridge delivers it, or its bare detail (docs/events.md, docs/sources.md), S3's
notification of config uploaded under deploy/ (docs/aws.md), or a wake: then the function looks at the leases of the
sources, or at what waits for a moment, and sends the next wake, or ends the orders that are due. An invalid record goes
to the dead-letter queue at once, with the reason, and is acknowledged: a retry could not help. If the store fails, the
record is a batch item failure and SQS delivers it again; ingesting an event twice does no harm.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_NOTICES, the topic to which moved heads are
published (none without); POINTSMAN_DATACENTERS, those to compute for (all without); POINTSMAN_TRUST_DOMAIN, fixed by
the first config; POINTSMAN_DEAD_LETTERS, the URL of the dead-letter queue (without one, invalid records are batch item
failures as well, and the queue's redrive policy applies); POINTSMAN_ECS_TASKS, the services of ECS tasks as JSON
(without it, only tasks whose events name their service); POINTSMAN_QUEUE, the URL of the queue of events, for wakes.
"""

import gc

gc.disable()  # Off until all is imported: nothing is garbage yet, and collecting takes a tenth of a cold start.

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Self

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pointsman.aws.signals import Signals
from pointsman.aws.snapstart import around_the_snapshot, import_config
from pointsman.aws.start import start
from pointsman.aws.task_tags import TagsOfTasks
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.model.events import MAX_PROBLEMS, HealthEvent
from pointsman.model.since import timed
from pointsman.model.sources.pointer import ListsAt, Pointer
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.task_claim import read_task_settings
from pointsman.model.sources.task_tags import TaskTags
from pointsman.model.sources.text import MOST_BYTES, read_json
from pointsman.model.sources.upload import MAX_UPLOAD_BYTES, Upload, is_test, read_upload
from pointsman.model.sources.wake import order_moment, wait_moment, wake_number
from pointsman.pipeline.ingest import Ingested, ingest_all
from pointsman.pipeline.moved import Moved
from pointsman.pipeline.recording import catalog_key
from pointsman.store.session import new_client

LISTS = "incoming/"
"""The prefix in the store's bucket where producers put lists that are too long for the bus."""

UPLOADS = "deploy/"
"""The prefix in the store's bucket for uploaded config."""

SPARE_MS = 5_000
"""Milliseconds before its timeout at which the function starts no further step: the remaining records are delivered
again."""

LONGEST_REASON = 1000
"""Characters of the reason in a dead letter; the log line has all of it."""

signals = Signals("ingest")
logger = signals.logger

started = start()
environment, session, store, engine = started.environment, started.session, started.store, started.engine
engine.witness = signals
bucket, within = environment.bucket, environment.prefix
settings = SourceSettings(read_task_settings(environment.ecs_tasks), ListsAt(bucket, f"{within}{LISTS}"))
# Few events need these clients: that of the dead letters and of wakes, and those of ECS.
sqs = cache(lambda: new_client(session, "sqs"))
tags = TagsOfTasks(session)
around_the_snapshot(import_config, sqs, lambda: tags.prepare(session.get_config_variable("region")))
gc.freeze()  # What a start made stays: no collection has to look at it again.
gc.enable()


@logger.inject_lambda_context(clear_state=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda function: takes an SQS event and returns the records to deliver again, never an error: that would
    count against the function."""
    try:
        records = [Record.read(each) for each in event["Records"]]
        account = context.invoked_function_arn.split(":")[4]
        taken = take_in(records, account, lambda: context.get_remaining_time_in_millis() > SPARE_MS)
        again = [each.message_id for each in records if not tell_of(each, taken[each.message_id])]
        return {"batchItemFailures": [{"itemIdentifier": each} for each in again]}
    finally:
        signals.flush()


@dataclass(frozen=True, slots=True)
class Record:
    """A record of the queue: its id, its body, and when the queue took it in, None if it does not say."""

    message_id: str
    body: str
    sent: datetime | None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """A record as Lambda delivers it."""
        sent_ms = str(raw.get("attributes", {}).get("SentTimestamp", ""))
        sent = datetime.fromtimestamp(int(sent_ms) / 1000, UTC) if sent_ms.isdecimal() else None
        return cls(raw["messageId"], raw["body"], sent)


@dataclass(slots=True)
class Taken:
    """The content of a record and the outcomes of its events, or the `error` that kept it from being read."""

    events: tuple[HealthEvent, ...] = ()
    ignored: tuple[str, ...] = ()
    upload: Upload | None = None
    wake: int | None = None
    waited: int | None = None
    ends_orders: int | None = None
    error: Exception | None = None
    done: list[Ingested | Exception] = field(default_factory=list)


def take_in(records: Sequence[Record], account: str, in_time: Callable[[], bool]) -> dict[str, Taken]:
    """Ingest the events of all `records` in one pass; the results are by message id. One record's failure does not
    affect the others."""
    taken = {record.message_id: read_record(record, account) for record in records}
    outcomes = iter(ingest_all(engine, [event for each in taken.values() for event in each.events], in_time))
    for each in taken.values():
        each.done = [next(outcomes) for _ in each.events]
    # Several events may have changed the same head.
    done = [one for each in taken.values() for one in each.done if isinstance(one, Ingested)]
    signals.count(
        "ResolversRecomputed", len({head.key for one in done for head in (*one.moved, *one.stamped, *one.stood)})
    )
    published({head.key: head for one in done for head in one.moved}.values())
    signals.went_back(list(dict.fromkeys(line for one in done for line in one.warnings)))
    failing({plan: error for one in done for plan, error in one.failed.items()})
    return taken


def read_record(record: Record, account: str) -> Taken:
    """Read `record`, without ingesting it yet."""
    try:
        raw = read_json(record.body)
        if is_test(raw):
            return Taken(ignored=("S3 tests whether its notifications arrive",))
        if upload := read_upload(raw, bucket, f"{within}{UPLOADS}"):
            return Taken(upload=upload)
        if (wake := wake_number(raw)) is not None:
            return Taken(wake=wake)
        if (moment := wait_moment(raw)) is not None:
            return Taken(waited=moment)
        if (moment := order_moment(raw)) is not None:
            return Taken(ends_orders=moment)
        reading, sent = read(raw, account), record.sent
        # The queue took it in: an event without a time has that one, however often it is delivered.
        events = [timed(each, int(sent.timestamp() * 1000)) if sent else each for each in reading.events]
        return Taken(tuple(events), reading.ignored)
    except Exception as error:
        return Taken(error=error)


def tell_of(record: Record, taken: Taken) -> bool:
    """Log and count the outcome of `record`. Returns whether it is acknowledged; if not, SQS delivers it again."""
    logger.append_keys(message_id=record.message_id)
    logger.set_correlation_id(record.message_id)
    try:
        try:
            if taken.error:
                raise taken.error
            if taken.upload:
                deploy(taken.upload)
            if taken.wake is not None:
                look_at_leases(taken.wake)
            if taken.waited is not None:
                look_at_waits(taken.waited)
            if taken.ends_orders is not None:
                end_orders(taken.ends_orders)
            if taken.ignored:
                logger.info("ignored", reasons=taken.ignored)
                signals.count("EventsIgnored", not taken.events)
            for event, done in zip(taken.events, taken.done, strict=True):
                logger.set_correlation_id(event.id or record.message_id)
                if isinstance(done, Exception):
                    raise done
                tell_of_event(event, done, record.sent)
        except InvalidInput as error:
            refuse(record, error)
    except Exception as error:
        signals.count("EventsFailed")
        # The project's own errors need no traceback; anything else is a defect or a missing permission.
        logger.warning(
            "failed, to be delivered again", reason=str(error), exc_info=not isinstance(error, PointsmanError)
        )
        return False
    return True


def tell_of_event(event: HealthEvent, done: Ingested, sent: datetime | None) -> None:
    """Log and count the outcome of one health event, which the queue took in at `sent`."""
    signals.count("EventsIngested")
    signals.count("EventsDuplicate", not done.new and done.stale is None)
    if done.stale is not None:
        # A queue delivers late and twice, so most stale events are harmless. Delivering them again would not help.
        signals.count("EventsStale")
        logger.info("stale", catalog=catalog_key(event), **done.stale.json())
    if event.refused:
        signals.count("InstancesRefused", len(event.refused))
        told = [each.json() for each in event.refused[:MAX_PROBLEMS]]
        logger.error("instances refused", catalog=catalog_key(event), refused=len(event.refused), first=told)
    if done.doubt:
        signals.count("IndexesDoubted")
        logger.warning("index doubted", source=event.source, datacenter=event.datacenter, reason=done.doubt)
    if done.shared:
        signals.count("SourcesShared")
        logger.warning("source shared", source=event.source, datacenter=event.datacenter, reason=done.shared)
    if done.vanished:
        signals.count("InstancesVanished", done.vanished)
        logger.warning(
            "most of a catalog vanished at once",
            source=event.source,
            catalog=catalog_key(event),
            vanished=done.vanished,
        )
    if done.heard_again:
        logger.info("heard again", source=event.source, datacenter=event.datacenter)
    if done.moved:
        # EventBridge's time of an event has whole seconds only.
        if sent is not None:
            signals.lag("PublishLag", sent)
        moved = [f"{head.plan_key} v{head.version}" for head in done.moved]
        logger.info("published", source=event.source, index=event.index, revision=done.revision, moved=moved)


def send_later(body: str, delay: int) -> None:
    """Send a message to the queue of events, to be delivered after so many seconds."""
    # Imported here: most records need no wake.
    from pointsman.aws.wakes import sender

    sender(sqs(), environment.queue)(body, delay)


def wake_later() -> None:
    """Send a wake for what waits, unless one stands that comes early enough."""
    from pointsman.aws.wait_wakes import arm

    arm(engine, send_later)


if environment.queue:
    engine.noted = wake_later


def look_at_waits(moment: int) -> None:
    """Compute what has waited for long enough, and send the next wake."""
    from pointsman.aws.wait_wakes import woken

    if (settled := woken(engine, send_later, moment)) is not None:
        published(settled.moved)
        failing(settled.failed)


def look_at_leases(wake: int) -> None:
    """Look at the leases of all sources, if this wake is due, and send the next one."""
    # Imported here: most records are no wakes.
    from pointsman.aws.wakes import Wakes

    done = Wakes(engine, send_later).wake(wake)
    if done is None:
        return
    signals.count("SourcesSilent", len(done.silent))
    for lease in done.silent:
        logger.warning("silent", source=lease.source, datacenter=lease.datacenter, last_heard=lease.at)
    for lease in done.heard:
        logger.info("heard again", source=lease.source, datacenter=lease.datacenter)
    published(done.settled.moved)
    failing(done.settled.failed)


def end_orders(moment: int) -> None:
    """End the orders of operators whose end has come, and send the next wake."""
    # Imported here: most records are no wakes.
    from pointsman.aws.order_wakes import woken

    done = woken(engine, send_later, moment)
    for order in done.orders:
        logger.warning("order ended", order=order.id, about=str(order.subject), reason=order.reason)
    signals.went_back(done.settled.warnings)
    published(done.settled.moved)
    failing(done.settled.failed)


def deploy(upload: Upload) -> None:
    """Apply uploaded config, in the object's current content. Raises InvalidInput; then nothing was changed."""
    if upload.is_folder:
        logger.info("ignored", reasons=[f"{upload}: is a folder"])
        return
    # Imported here: health events need neither the compiler nor the models of config.
    from pointsman.model.note import Note
    from pointsman.model.orders import checked_name
    from pointsman.pipeline.configure import Batch, parse_documents
    from pointsman.pipeline.deploy import deploy as apply

    def batch_of(content: bytes | None) -> Batch:
        try:
            batch = parse_documents(upload.documents(content))
        except (PointsmanError, MemoryError):
            raise
        except Exception as error:
            # A defect, which the same content would meet again: the record must not come back until the queue drops it.
            logger.exception("defect", upload=str(upload))
            raise InvalidInput.single(str(upload), "", f"cannot be read: {type(error).__name__}: {error}") from None
        if batch.passed_over:
            logger.info("passed over", upload=str(upload), reasons=list(batch.passed_over))
        return batch

    content, note = partial(content_of, upload.key, MAX_UPLOAD_BYTES), Note(checked_name(str(upload)))
    for done in apply(engine, content, batch_of, environment.trust_domain, note):
        signals.went_back(done.settled.warnings)
        failing(done.settled.failed)
        published(done.settled.moved)
        moved = [f"{head.plan_key} v{head.version}" for head in done.settled.moved]
        signals.count("ConfigChanged", done.changed)
        logger.info("configured", upload=str(upload), generation=done.generation, changed=done.changed, moved=moved)


def read(raw: Any, account: str) -> Reading:
    """Read the body of a record, and fetch everything that it refers to."""
    reading = read_events(raw, settings)
    while reading.missing is not None:
        reading = read_events(fetched(reading.missing, account), settings)
    if reading.task_list is not None:
        # Imported here: most records are no lists.
        from pointsman.pipeline.task_lists import expanded

        reading = expanded(engine, reading)
    return reading


def fetched(missing: Pointer | TaskTags, account: str) -> dict[str, Any]:
    """The event with its missing parts. Raises StoreUnavailable if they cannot be fetched now, or the permission is
    missing."""
    if isinstance(missing, TaskTags):
        if missing.account != account:
            return missing.filled(())  # ECS does not answer for another account
        return tags.filled(missing)
    return missing.filled(content_of(missing.key, MOST_BYTES))


def content_of(key: str, most: int) -> bytes | None:
    """Up to `most` + 1 bytes of an object in the store's bucket; None if it is missing or empty."""
    return store.beginning(key.removeprefix(within), most + 1)


def refuse(record: Record, error: InvalidInput) -> None:
    """Send `record` to the dead-letter queue, with its body unchanged. Raises `error` if there is no such queue."""
    if not environment.dead_letters:
        raise error
    # SQS refuses characters that XML does not allow, and a reason may quote one.
    reason = "".join(char if char.isprintable() else "?" for char in str(error)[:LONGEST_REASON])
    attributes = {"reason": reason, "message-id": record.message_id}
    try:
        sqs().send_message(
            QueueUrl=environment.dead_letters,
            MessageBody=record.body,
            MessageAttributes={name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()},
        )
    except ClientError as refusal:
        if not refusal.response["Error"]["Code"].startswith("InvalidParameterValue"):
            raise
        # Attributes count towards SQS's limit on a message, which the body alone may reach.
        sqs().send_message(QueueUrl=environment.dead_letters, MessageBody=record.body)
    logger.error("refused", reason=str(error))
    signals.count("EventsRefused")


def failing(failed: Mapping[str, Exception]) -> None:
    """Log and count heads that cannot be computed. The record is acknowledged anyway: its events are in the catalog, so
    a retry would not help, and every reconcile tries and reports again."""
    for plan, error in failed.items():
        defect = None if isinstance(error, PointsmanError) else error
        logger.error("cannot be computed", plan=plan, reason=str(error), exc_info=defect)
    signals.count("HeadsFailed", len(failed))


def published(moved: Collection[Moved]) -> None:
    """Count the heads that moved."""
    signals.count("SnapshotsPublished", len(moved))
    signals.count("TargetsSwitched", sum(head.switched for head in moved))


handler = signals.traced(handler)
