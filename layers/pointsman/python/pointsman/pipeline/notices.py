"""Notices: telling who follows that heads moved, each notice with the moved head itself."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import orjson

from pointsman.model.canonical import canonical
from pointsman.pipeline.engine import Moved
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable

LARGEST_HEAD = 200_000
"""Bytes of the largest head that travels inside its notice."""

_LARGEST_REQUEST = 256_000
"""Bytes of all messages in one request: https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html, 256 KB."""

_ENTRIES = 10
_OVERHEAD = 256
_THREADS = 8


class Topic(Protocol):
    """What is used of boto3's SNS client."""

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Any]) -> Any:
        """https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html."""
        ...


def notice(moved: Moved) -> bytes:
    """The message about one head, JSON: `key`, `version`, and `head`, the object as it stands under that key.

    Without `head` where that is larger than LARGEST_HEAD: whoever wants it reads the store.
    """
    body: dict[str, Any] = {"key": keys.snapshot(moved.plan_key), "version": moved.version}
    if len(moved.data) <= LARGEST_HEAD:
        body["head"] = orjson.Fragment(moved.data)
    return canonical(body)


class Notices:
    """Publishes notices to an SNS topic, as an Engine's `notify`.

    A message has one attribute, `datacenter`: whoever follows one datacenter filters by it. Notices come more than
    once and out of order; the version tells.
    """

    def __init__(self, client: Topic, topic: str) -> None:
        """`client` is boto3's SNS client, with at least eight connections; `topic` the ARN of the topic."""
        self._client = client
        self._topic = topic

    def __call__(self, moved: Sequence[Moved]) -> None:
        """Tell of every head. Raises StoreUnavailable if SNS did not take them all: tell of all again."""
        batches = list(_batches(moved))
        if len(batches) < 2:
            for batch in batches:
                self._publish(batch)
            return
        with ThreadPoolExecutor(min(_THREADS, len(batches)), thread_name_prefix="notices") as pool:
            for _ in pool.map(self._publish, batches):
                pass

    def _publish(self, entries: Sequence[Any]) -> None:
        # botocore is here only where there is a client.
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.publish_batch(TopicArn=self._topic, PublishBatchRequestEntries=entries)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"notices {self._topic}: SNS did not take them ({error}): try again") from error
        if failed := answer.get("Failed"):
            raise StoreUnavailable(
                f"notices {self._topic}: SNS did not take {len(failed)} ({failed[0].get('Code')}): try again"
            )


def _batches(moved: Sequence[Moved]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for one in moved:
        message = notice(one).decode()
        cost = len(message.encode()) + _OVERHEAD
        if batch and (len(batch) == _ENTRIES or size + cost > _LARGEST_REQUEST):
            yield batch
            batch, size = [], 0
        attribute = {"DataType": "String", "StringValue": one.datacenter}
        batch.append({"Id": str(len(batch)), "Message": message, "MessageAttributes": {"datacenter": attribute}})
        size += cost
    if batch:
        yield batch


def notices_to(topic: str) -> Callable[[Sequence[Moved]], None]:
    """What an Engine on AWS has as `notify`: notices to the topic with the ARN `topic`, or to nobody for ""."""
    if not topic:
        return lambda moved: None
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=_THREADS, connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3})
    return Notices(boto3.client("sns", config=config), topic)
