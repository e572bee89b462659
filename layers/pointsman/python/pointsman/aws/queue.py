"""An adapter's own SQS queue on the topic over which the mesh tells of what moved."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar
from uuid import uuid4

import orjson

from pointsman.aws.topic import MeshTopic
from pointsman.model.errors import PointsmanError

_log = logging.getLogger(__name__)
_A = TypeVar("_A")

LONG_POLL_S = 20
"""Seconds that SQS holds a request while there is nothing: the most it takes, and the cheapest."""

_RETENTION_S = 600
"""Seconds that SQS keeps what was not received. Whoever was away for longer reads the store again anyway."""

_VISIBILITY_S = 120
"""Seconds after which what was received and not deleted comes again. Twice is the same as once."""

BATCH = 10
"""How many messages a request receives or deletes at most. A request costs what it costs, with one or with ten."""

_GONE = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "InvalidClientTokenId")
_NO_TOPIC = ("NotFound", "NotFoundException")


class Sqs(Protocol):
    """What is used of boto3's SQS client: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/."""

    def create_queue(self, *, QueueName: str, Attributes: Any, tags: Any) -> Any:
        """CreateQueue."""
        ...

    def set_queue_attributes(self, *, QueueUrl: str, Attributes: Any) -> Any:
        """SetQueueAttributes."""
        ...

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, WaitTimeSeconds: int) -> Any:
        """ReceiveMessage."""
        ...

    def delete_message_batch(self, *, QueueUrl: str, Entries: Any) -> Any:
        """DeleteMessageBatch."""
        ...

    def delete_queue(self, *, QueueUrl: str) -> Any:
        """DeleteQueue."""
        ...


class Sns(Protocol):
    """What is used of boto3's SNS client: https://docs.aws.amazon.com/sns/latest/api/."""

    def subscribe(
        self, *, TopicArn: str, Protocol: str, Endpoint: str, Attributes: Any, ReturnSubscriptionArn: bool
    ) -> Any:
        """Subscribe."""
        ...

    def unsubscribe(self, *, SubscriptionArn: str) -> Any:
        """Unsubscribe."""
        ...


class QueueError(PointsmanError):
    """The queue did not do what was asked; it may later."""


class QueueLost(QueueError):
    """The queue is there no more: make another one."""


class NoticeQueue:
    """A queue that only the mesh's topic can fill, of an adapter that hears `datacenters` (empty: all).

    One thread receives; `remove` may come from another.
    """

    def __init__(
        self, sqs: Sqs, sns: Sns, topic: MeshTopic, *, datacenters: Sequence[str] = (), host: str = ""
    ) -> None:
        """Make the queue and subscribe it. Raises QueueError, and then nothing was left behind (or it says what).

        `sqs` is boto3's client with a read timeout beyond LONG_POLL_S. `host` is told to people, as a tag.
        """
        self._sqs, self._sns, self._topic = sqs, sns, topic
        # A name is never used twice: SQS takes none again for a minute after its queue was deleted.
        self.name = topic.queue_name(uuid4().hex)
        self.filtered = bool(datacenters)
        self._wanted = sorted(datacenters)
        self._beat = 0
        made = self._ask(
            "cannot be made",
            lambda: sqs.create_queue(
                QueueName=self.name, Attributes=_attributes(topic, self.name), tags={"pointsman-host": host or "?"}
            ),
        )
        self._url: str = made["QueueUrl"]
        self._subscription = ""
        try:
            self._subscription = self._subscribe()
        except BaseException:
            self.remove()
            raise

    def receive(self, seconds: int = LONG_POLL_S) -> list[Any]:
        """The next messages, at most ten, after at most so many seconds. Raises QueueError."""
        answer = self._ask(
            "cannot be read",
            lambda: self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=seconds),
        )
        return list(answer.get("Messages", ()))

    def delete(self, messages: Sequence[Any]) -> None:
        """Have what was received, at most BATCH of them, not come again. Raises QueueError."""
        entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(messages)]
        self._ask("keeps its messages", lambda: self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries))

    def renew(self) -> bool:
        """Show that somebody reads the queue, and see that it is subscribed; False if it was not, and is again.

        AWS notes when a queue was last changed, so one of its attributes is: to and fro between two values of which
        neither matters, since every request says itself how long it waits. Raises QueueError.
        """
        self._beat = 1 - self._beat
        changed = {"ReceiveMessageWaitTimeSeconds": str(LONG_POLL_S - self._beat)}
        self._ask("cannot be renewed", lambda: self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes=changed))
        # Subscribing twice is the same as once: https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html.
        before, self._subscription = self._subscription, self._subscribe()
        return self._subscription == before

    def remove(self) -> None:
        """End the subscription and the queue. What cannot be removed is told, and left for reconcile to sweep."""
        try:
            if self._subscription:
                self._ask("stays subscribed", lambda: self._sns.unsubscribe(SubscriptionArn=self._subscription))
        except QueueError as error:
            _log.warning("%s", error)
        try:
            self._ask("stays", lambda: self._sqs.delete_queue(QueueUrl=self._url))
        except QueueLost:
            pass
        except QueueError as error:
            _log.warning("%s; reconcile sweeps it", error)

    def _subscribe(self) -> str:
        from botocore.exceptions import ClientError

        attributes = {"RawMessageDelivery": "true"}
        if self.filtered:
            attributes["FilterPolicy"] = orjson.dumps({"datacenter": self._wanted}).decode()

        def subscribe() -> str:
            answer = self._sns.subscribe(
                TopicArn=self._topic.arn,
                Protocol="sqs",
                Endpoint=self._topic.queue_arn(self.name),
                Attributes=attributes,
                ReturnSubscriptionArn=True,
            )
            return str(answer["SubscriptionArn"])

        def unfiltered_if_need_be() -> str:
            try:
                return subscribe()
            except ClientError as error:
                if not error.response["Error"]["Code"].startswith("FilterPolicyLimitExceeded"):
                    raise
            # A topic has 200 filter policies unless AWS raised that: the rest hears of all datacenters.
            self.filtered = False
            del attributes["FilterPolicy"]
            return subscribe()

        return self._ask("cannot be subscribed", unfiltered_if_need_be)

    def _ask(self, what: str, request: Callable[[], _A]) -> _A:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return request()
        except ClientError as error:
            code = error.response["Error"].get("Code", "")
            if code in _GONE:
                raise QueueLost(f"the queue {self.name} is gone") from error
            if code in _DENIED:
                reason = f"{code}: attach the stack's AdapterPolicyArn to the adapter's role"
            elif code in _NO_TOPIC:
                reason = f"there is no topic {self._topic.arn}: name the stack's output NoticesArn"
            else:
                reason = f"{code}: {' '.join(str(error).split())}"
        except BotoCoreError as error:
            reason = " ".join(str(error).split())
        raise QueueError(f"the queue {self.name} {what}: {reason}")


def _attributes(topic: MeshTopic, name: str) -> dict[str, str]:
    arn = topic.queue_arn(name)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyTheTopic",
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic.arn}},
            },
            {
                "Sid": "TLSOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }
    return {
        "MessageRetentionPeriod": str(_RETENTION_S),
        "ReceiveMessageWaitTimeSeconds": str(LONG_POLL_S),
        "SqsManagedSseEnabled": "true",
        "VisibilityTimeout": str(_VISIBILITY_S),
        "Policy": orjson.dumps(policy).decode(),
    }


def queue_maker(topic: MeshTopic, datacenters: Sequence[str], host: str) -> Callable[[], NoticeQueue]:
    """What makes a queue on `topic`, with clients of its region. Raises PointsmanError if there can be none."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    # What fails is tried again here; a poll that hangs has to be noticed soon.
    polls = Config(connect_timeout=2, read_timeout=LONG_POLL_S + 5, retries={"total_max_attempts": 1})
    asks = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        sqs: Sqs = boto3.client("sqs", region_name=topic.region, config=polls)
        sns: Any = boto3.client("sns", region_name=topic.region, config=asks)
    except (BotoCoreError, ValueError) as error:
        raise QueueError(f"no client for {topic.arn}: {error}: set AWS_PROFILE") from error
    return lambda: NoticeQueue(sqs, sns, topic, datacenters=datacenters, host=host)
