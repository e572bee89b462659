"""Reconcile: on a schedule, finish what crashes left undone, and recompute and repair every head.

Before that, look at which tasks of Amazon ECS run, and put what it finds on the bus, for this stack and its peers.
Afterwards sweep: remove the queues of adapters that are gone. And if a wake with which `ingest` looks at the leases of
sources, or at what waits, was lost, send it again; if an order of an operator is in force, send one for its end.

Environment: POINTSMAN_STORE, the bucket (s3://bucket/prefix); POINTSMAN_NOTICES, the topic to which moved heads are
published, and beside which adapters have their queues (none without); POINTSMAN_DATACENTERS, those to compute for (all
without); POINTSMAN_QUEUE, the URL of the queue of events, for wakes; POINTSMAN_ECS_TASKS, whose `clusters` are looked
at (none without), and POINTSMAN_BUS, the name of the bus for what is found.
"""

import gc

gc.disable()  # Off until all is imported: nothing is garbage yet, and collecting takes a tenth of a cold start.

from dataclasses import asdict
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pointsman.aws.signals import Signals
from pointsman.aws.snapstart import around_the_snapshot, import_config
from pointsman.aws.start import start
from pointsman.aws.sweep import sweep_of
from pointsman.pipeline.reconcile import reconcile
from pointsman.store import keys
from pointsman.store.session import new_client

MOST_REASONS = 20
"""Failed heads named in one log line."""

signals = Signals("reconcile")
logger, metrics = signals.logger, signals.metrics

started = start()
engine = started.engine
engine.witness = signals
sweep = sweep_of(started.environment.notices, started.session)
around_the_snapshot(import_config)
gc.freeze()  # What a start made stays: no collection has to look at it again.
gc.enable()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda function: takes the schedule's event and returns what was repaired."""
    logger.set_correlation_id(event.get("id"))
    look_at_tasks()
    done = reconcile(engine, lambda text: logger.debug(text))
    metrics.add_metric("ObjectsChecked", MetricUnit.Count, done.checked)
    # Also with zero: an alarm needs to see that a reconcile ran.
    metrics.add_metric("ObjectsRepaired", MetricUnit.Count, done.repaired)
    metrics.add_metric("HeadsFailed", MetricUnit.Count, len(done.failed))
    signals.went_back(done.warnings)
    if done.failed:
        logger.error("cannot be computed", reasons=done.failed[:MOST_REASONS], heads=len(done.failed))
    if done.repaired:
        logger.warning("repaired", **asdict(done))
    sweep_queues()
    ensure_wake()
    ensure_order_wake()
    ensure_wait_wake()
    return asdict(done)


def look_at_tasks() -> None:
    """Put on the bus which tasks run in the clusters of the settings. If that fails, the next run tries again, and the
    leases of those clusters run out if none succeeds."""
    if not started.environment.ecs_tasks:
        return
    # Imported here: most stacks look at none.
    from pointsman.aws.task_looks import NotLooked, look, put
    from pointsman.model.sources.task_claim import read_task_settings

    tasks = read_task_settings(started.environment.ecs_tasks)
    if not tasks.clusters:
        return

    ecs, events = (new_client(started.session, each) for each in ("ecs", "events"))
    failed = 0
    for cluster in tasks.clusters:
        try:
            for found in look(ecs, cluster, tasks.lease):
                put(events, started.environment.bus, found)
        except NotLooked as error:
            failed += 1
            logger.error("tasks were not looked at", cluster=cluster, reason=str(error))
    metrics.add_metric("ClustersNotLookedAt", MetricUnit.Count, failed)


def ensure_wake() -> None:
    """Send a wake if sources have leases and nobody looks at them."""
    if next(iter(engine.store.list(keys.LEASES)), None) is None:
        return
    # Imported here: few runs need it.
    from pointsman.aws.wakes import Wakes

    if Wakes(engine, send).ensure():
        logger.info("a wake was sent: sources have leases, and nobody looked at them")


def ensure_wait_wake() -> None:
    """Send a wake if a target waits for its traffic to return, and none stands."""
    # Imported here, so that it takes no part of a cold start.
    from pointsman.aws.wait_wakes import arm

    if arm(engine, send):
        logger.info("a wake was sent: a target waits for its traffic to return")


def ensure_order_wake() -> None:
    """Send a wake for the next order that ends, if none stands."""
    # Imported here, so that it takes no part of a cold start.
    from pointsman.aws.order_wakes import arm

    if arm(engine, send):
        logger.info("a wake was sent: an order is in force")


def send(body: str, delay: int) -> None:
    """Send a message to the queue of events, to be delivered after so many seconds."""
    # The client is made here: few runs need it.
    from pointsman.aws.wakes import sender

    sender(new_client(started.session, "sqs"), started.environment.queue)(body, delay)


def sweep_queues() -> None:
    """Remove what adapters left behind. If that fails, the next run tries again."""
    try:
        swept = sweep()
    except (BotoCoreError, ClientError) as error:
        logger.warning("not swept, to be tried again the next time", reason=str(error))
        return
    metrics.add_metric("QueuesSwept", MetricUnit.Count, swept.queues)
    if swept.queues or swept.subscriptions:
        logger.info("swept", **asdict(swept))


handler = signals.traced(handler)
