"""An adapter's own SQS queue, subscribed to the mesh's topic."""

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
"""Seconds that SQS holds a request while the queue is empty: the longest it allows, and the cheapest."""

_RETENTION_S = 600
"""Seconds that SQS keeps unreceived messages. An adapter that was away for longer reads the store anyway."""

_VISIBILITY_S = 120
"""Seconds after which a message that was received and not deleted is delivered again. Receiving it twice does no
harm."""

BATCH = 10
"""Messages that one request receives or deletes at most. A request costs the same for one or ten."""

_GONE = ("QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")
_DENIED = ("AccessDenied", "AccessDeniedException", "AuthorizationError", "InvalidClientTokenId")
_NO_TOPIC = ("NotFound", "NotFoundException")


class Sqs(Protocol):
    """The part of boto3's SQS client that is used:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/."""

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
    """The part of boto3's SNS client that is used: https://docs.aws.amazon.com/sns/latest/api/."""

    def subscribe(
        self, *, TopicArn: str, Protocol: str, Endpoint: str, Attributes: Any, ReturnSubscriptionArn: bool
    ) -> Any:
        """Subscribe."""
        ...

    def unsubscribe(self, *, SubscriptionArn: str) -> Any:
        """Unsubscribe."""
        ...


class QueueError(PointsmanError):
    """A request for the queue failed; a retry may succeed."""


class QueueLost(QueueError):
    """The queue no longer exists: create another one."""


class NoticeQueue:
    """The queue of an adapter that receives notices of `datacenters` (empty: all). Only the mesh's topic can send to
    it.

    One thread receives; `remove` may come from another.
    """

    def __init__(
        self, sqs: Sqs, sns: Sns, topic: MeshTopic, *, datacenters: Sequence[str] = (), host: str = ""
    ) -> None:
        """Create the queue and subscribe it. Raises QueueError; then nothing is left behind, or the error names it.

        `sqs` is boto3's client with a read timeout longer than LONG_POLL_S. `host` becomes a tag, for people.
        """
        self._sqs, self._sns, self._topic = sqs, sns, topic
        # Every name is new: SQS refuses the name of a deleted queue for a minute.
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
        """The next messages, at most ten, after at most `seconds`. Raises QueueError."""
        answer = self._ask(
            "cannot be read",
            lambda: self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=seconds),
        )
        return list(answer.get("Messages", ()))

    def delete(self, messages: Sequence[Any]) -> None:
        """Delete received messages, at most BATCH of them. Raises QueueError."""
        entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(messages)]
        self._ask("keeps its messages", lambda: self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries))

    def renew(self) -> bool:
        """Mark the queue as in use, and restore its subscription. Returns False if the subscription was missing.

        AWS records when a queue was last changed, so this changes an attribute between two values. Neither matters,
        since every request sets its own wait. Raises QueueError.
        """
        self._beat = 1 - self._beat
        changed = {"ReceiveMessageWaitTimeSeconds": str(LONG_POLL_S - self._beat)}
        self._ask("cannot be renewed", lambda: self._sqs.set_queue_attributes(QueueUrl=self._url, Attributes=changed))
        # Subscribing twice is the same as once: https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html.
        before, self._subscription = self._subscription, self._subscribe()
        return self._subscription == before

    def remove(self) -> None:
        """Remove the subscription and the queue. What cannot be removed is logged, and left to the sweep of
        reconcile."""
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
            # A topic has at most 200 filter policies unless AWS raised the quota: further queues receive notices of all
            # datacenters.
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
    """A function that creates a queue on `topic`, with clients of its region. Raises PointsmanError if no client can be
    created."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    # Few retries and short timeouts: the listener retries itself, and has to notice a hanging poll soon.
    polls = Config(connect_timeout=2, read_timeout=LONG_POLL_S + 5, retries={"total_max_attempts": 1})
    asks = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
    try:
        sqs: Sqs = boto3.client("sqs", region_name=topic.region, config=polls)
        sns: Any = boto3.client("sns", region_name=topic.region, config=asks)
    except (BotoCoreError, ValueError) as error:
        raise QueueError(f"no client for {topic.arn}: {error}: set AWS_PROFILE") from error
    return lambda: NoticeQueue(sqs, sns, topic, datacenters=datacenters, host=host)
