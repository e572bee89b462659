"""Removes the queues of adapters that are gone, and the subscriptions of queues that are gone.

An adapter removes its queue when it ends. A killed adapter leaves its queue behind, and SNS keeps filling it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Protocol

from pointsman.aws.topic import MeshTopic, read_topic

if TYPE_CHECKING:
    from botocore.session import Session

ALIVE_S = 3600.0
"""Seconds after its last renewal during which a queue is kept: six of the adapter's renewals."""

LOOKED_AT = 1000
"""Queues that one sweep checks, chosen at random each time, so that its cost does not grow with the fleet."""

_THREADS = 8
_PAGE = 1000
_GONE = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")


class Queues(Protocol):
    """The part of boto3's SQS client that is used."""

    def list_queues(self, *, QueueNamePrefix: str, MaxResults: int, NextToken: str = ...) -> Any:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ListQueues.html."""
        ...

    def get_queue_url(self, *, QueueName: str) -> Any:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueUrl.html."""
        ...

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: Any) -> Any:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html."""
        ...

    def delete_queue(self, *, QueueUrl: str) -> Any:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteQueue.html."""
        ...


class Subscriptions(Protocol):
    """The part of boto3's SNS client that is used."""

    def list_subscriptions_by_topic(self, *, TopicArn: str, NextToken: str = ...) -> Any:
        """https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html."""
        ...

    def unsubscribe(self, *, SubscriptionArn: str) -> Any:
        """https://docs.aws.amazon.com/sns/latest/api/API_Unsubscribe.html."""
        ...


@dataclass(frozen=True, slots=True)
class Life:
    """Signs that a queue is in use: the time of its last renewal (seconds since 1970), and the number of messages
    received and not yet deleted."""

    renewed: float
    in_flight: int


def is_orphan(life: Life, now: float) -> bool:
    """Whether the queue has no reader at `now` (seconds since 1970).

    An adapter renews its queue every ten minutes, by AWS's own clock. An adapter that receives is alive even if it
    cannot renew.
    """
    return life.in_flight == 0 and now - life.renewed > ALIVE_S


@dataclass(frozen=True, slots=True)
class Swept:
    """The number of queues, and the numbers of queues and stray subscriptions that were removed."""

    there: int = 0
    queues: int = 0
    subscriptions: int = 0


class Sweep:
    """Removes what adapters of one mesh left behind. Raises boto3's errors; the next sweep continues."""

    def __init__(
        self,
        queues: Queues,
        subscriptions: Subscriptions,
        topic: MeshTopic,
        *,
        clock: Callable[[], float] = time.time,
        looked_at: int = LOOKED_AT,
    ) -> None:
        """`queues` and `subscriptions` are boto3's SQS and SNS clients, with at least eight connections."""
        self._sqs, self._sns, self._topic = queues, subscriptions, topic
        self._clock, self._looked_at = clock, looked_at
        # Its own generator: Lambda's snapshot contains the state of all others.
        self._random = SystemRandom()

    def __call__(self) -> Swept:
        """Sweep once."""
        # Subscriptions first: a queue exists before its subscription, so every subscription listed here has its queue
        # below.
        subscribed = self._subscribed()
        urls = {name: url for url in self._listed() if self._topic.is_queue(name := url.rpartition("/")[2])}
        chosen = self._chosen(urls)
        stray = self._chosen(subscribed.keys() - urls.keys())
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="sweep") as pool:
            orphaned = pool.map(self._is_orphan, [urls[name] for name in chosen])
            there = pool.map(self._is_there, stray)
            orphans = [name for name, orphan in zip(chosen, orphaned, strict=True) if orphan]
            gone = [name for name, found in zip(stray, there, strict=True) if not found]
        for name in [*orphans, *gone]:
            for subscription in subscribed.get(name, ()):
                self._sns.unsubscribe(SubscriptionArn=subscription)
        for name in orphans:
            self._unless_gone(partial(self._sqs.delete_queue, QueueUrl=urls[name]))
        return Swept(len(urls), len(orphans), sum(len(subscribed[name]) for name in gone))

    def _chosen(self, names: Iterable[str]) -> Sequence[str]:
        ordered = sorted(names)
        return ordered if len(ordered) <= self._looked_at else self._random.sample(ordered, self._looked_at)

    def _subscribed(self) -> dict[str, list[str]]:
        """The subscriptions of adapters' queues, by the queue's name."""
        found: dict[str, list[str]] = {}
        before = self._topic.queue_arn("")
        for page in _pages(lambda **more: self._sns.list_subscriptions_by_topic(TopicArn=self._topic.arn, **more)):
            for each in page.get("Subscriptions", ()):
                name = each["Endpoint"].removeprefix(before)
                # An unconfirmed or deleted subscription has a word instead of an ARN.
                if self._topic.is_queue(name) and each["SubscriptionArn"].startswith("arn:"):
                    found.setdefault(name, []).append(each["SubscriptionArn"])
        return found

    def _listed(self) -> Iterator[str]:
        prefix = self._topic.queue_prefix
        for page in _pages(lambda **more: self._sqs.list_queues(QueueNamePrefix=prefix, MaxResults=_PAGE, **more)):
            yield from page.get("QueueUrls", ())

    def _is_orphan(self, url: str) -> bool:
        names = ["LastModifiedTimestamp", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._unless_gone(lambda: self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names))
        if answer is None:
            return False
        found = answer["Attributes"]
        life = Life(float(found["LastModifiedTimestamp"]), int(found["ApproximateNumberOfMessagesNotVisible"]))
        return is_orphan(life, self._clock())

    def _is_there(self, name: str) -> bool:
        return self._unless_gone(lambda: self._sqs.get_queue_url(QueueName=name)) is not None

    def _unless_gone(self, ask: Callable[[], Any]) -> Any:
        """The result of `ask`, None if the queue does not exist."""
        # Imported here, because botocore is installed only with a client.
        from botocore.exceptions import ClientError

        try:
            return ask()
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                return None
            raise


def _pages(ask: Callable[..., Any]) -> Iterator[Any]:
    more: dict[str, str] = {}
    while True:
        page = ask(**more)
        yield page
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}


def sweep_of(topic: str, session: "Session | None" = None) -> Callable[[], Swept]:
    """The sweep for the mesh whose topic has the ARN `topic`; for "" one that does nothing. Raises InvalidInput.

    `session` is botocore's, to share one among several clients.
    """
    if not topic:
        return Swept
    mesh = read_topic(topic, "POINTSMAN_NOTICES")
    from pointsman.store.session import new_client, new_session

    session = session or new_session()
    sqs, sns = (new_client(session, name, connections=_THREADS, region=mesh.region) for name in ("sqs", "sns"))
    return Sweep(sqs, sns, mesh)
