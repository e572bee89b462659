"""Notices: tell followers that heads and manifests changed. Each notice carries the changed object."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from pointsman.aws.topic import read_topic
from pointsman.model.canonical import canonical
from pointsman.model.errors import PointsmanError
from pointsman.model.stored import Damaged, number
from pointsman.pipeline.moved import Moved, MovedManifest, Notify
from pointsman.store import keys
from pointsman.store.protocol import StoreUnavailable

if TYPE_CHECKING:
    from botocore.session import Session

LARGEST_BYTES = 200_000
"""Bytes of the largest object that a notice carries."""

_LARGEST_REQUEST_BYTES = 256_000
"""Bytes of all messages in one request, 256 KB: https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html."""

_ENTRIES = 10
_OVERHEAD = 256
_THREADS = 8


class Topic(Protocol):
    """The part of boto3's SNS client that is used."""

    def publish_batch(self, *, TopicArn: str, PublishBatchRequestEntries: Sequence[Any]) -> Any:
        """https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html."""
        ...


def notice(moved: Moved | MovedManifest) -> bytes:
    """The message about one object, as JSON: its `key`, and the object as it is stored.

    A head comes with its `version` and as `head`, a manifest with its `generation` and as `manifest`. An object larger
    than LARGEST_BYTES is left out: followers read it from the store.
    """
    body: dict[str, Any] = {"key": moved.key}
    body |= {"version": moved.version} if isinstance(moved, Moved) else {"generation": moved.generation}
    if len(moved.data) <= LARGEST_BYTES:
        body["head" if isinstance(moved, Moved) else "manifest"] = orjson.Fragment(moved.data)
    return canonical(body)


Age = tuple[int, int]
"""The epoch and the serial of an object: a later write of it has a greater one."""

NO_AGE: Age = (0, 0)
"""That of an object that tells none."""


def age_of(body: object) -> Age:
    """The age of a parsed object; NO_AGE where it has none that can be read."""
    try:
        return (number(body, "epoch"), number(body, "serial")) if isinstance(body, dict) else NO_AGE
    except Damaged:
        return NO_AGE


@dataclass(frozen=True, slots=True)
class Notice:
    """What a notice says: the key of what moved, and its bytes, None where the store has to be asked.

    `age` is the object's, as `age_of` tells it.
    """

    key: str
    data: bytes | None
    age: Age = field(default=NO_AGE, compare=False)


def read_notice(text: str) -> Notice | None:
    """The notice in a message that `notice` wrote; None for any other text."""
    try:
        body = orjson.loads(text)
    except ValueError:
        return None
    match body:
        case {"key": str(key), "version": int(), **more} if keys.is_snapshot(key):
            object_ = more.get("head")
        case {"key": str(key), "generation": int(), **more} if keys.is_manifest(key):
            object_ = more.get("manifest")
        case _:
            return None
    if object_ is None:
        return Notice(key, None)
    try:
        return Notice(key, canonical(object_), age_of(object_)) if isinstance(object_, dict) else None
    except TypeError:  # nested more deeply than anything that Pointsman writes
        return None


class Notices:
    """Publishes notices to an SNS topic, as an Engine's `notify`.

    A message has one attribute, `datacenter`, by which followers filter. Notices can arrive twice and out of order; the
    serial inside the object orders them.
    """

    def __init__(self, client: Topic, topic: str) -> None:
        """`client` is boto3's SNS client, with at least eight connections; `topic` the ARN of the topic."""
        self._client = client
        self._topic = topic

    def __call__(self, moved: Sequence[Moved | MovedManifest]) -> None:
        """Publish a notice of each. Raises StoreUnavailable if SNS did not accept all: publish all again."""
        batches = list(_batches(moved))
        if len(batches) < 2:
            for batch in batches:
                self._publish(batch)
            return
        with ThreadPoolExecutor(min(_THREADS, len(batches)), thread_name_prefix="notices") as pool:
            for _ in pool.map(self._publish, batches):
                pass

    def _publish(self, entries: Sequence[Any]) -> None:
        # Imported here, because botocore is installed only with a client.
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.publish_batch(TopicArn=self._topic, PublishBatchRequestEntries=entries)
        except (BotoCoreError, ClientError) as error:
            raise StoreUnavailable(f"notices {self._topic}: SNS did not take them ({error}): try again") from error
        if failed := answer.get("Failed"):
            raise StoreUnavailable(
                f"notices {self._topic}: SNS did not take {len(failed)} ({failed[0].get('Code')}): try again"
            )


def _batches(moved: Sequence[Moved | MovedManifest]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for one in moved:
        message = notice(one).decode()
        cost = len(message.encode()) + _OVERHEAD
        if batch and (len(batch) == _ENTRIES or size + cost > _LARGEST_REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        attribute = {"DataType": "String", "StringValue": one.datacenter}
        batch.append({"Id": str(len(batch)), "Message": message, "MessageAttributes": {"datacenter": attribute}})
        size += cost
    if batch:
        yield batch


def notices_to(topic: str, session: "Session | None" = None) -> Notify:
    """The `notify` of an Engine on AWS: it publishes to the topic with the ARN `topic`, or does nothing for "".

    `session` is botocore's, to share one among several clients. Raises InvalidInput if it is no ARN of a mesh's topic.
    """
    if not topic:
        return lambda moved: None
    from pointsman.store.session import new_client, new_session

    region = read_topic(topic, "the topic of the notices").region
    return Notices(new_client(session or new_session(), "sns", connections=_THREADS, region=region), topic)


def notices_of(topic: Callable[[], str], warn: Callable[[str], None]) -> Notify:
    """The `notify` of an Engine whose topic is known only when there is something to tell, as that of a command.

    `topic` gives its ARN, "" if there is none. A notice that cannot be sent stops no command: what it tells of is in
    the store already, and followers read that again within a minute. `warn` gets the reason, once for each topic.
    """
    warned: set[str] = set()
    made: dict[str, Notify] = {}

    def tell(moved: Sequence[Moved | MovedManifest]) -> None:
        arn = topic()
        if arn in warned:
            return
        try:
            if arn not in made:
                made[arn] = notices_to(arn)
            made[arn](moved)
        except PointsmanError as error:
            warned.add(arn)
            warn(f"{error}: everything is written and published, and followers find it when they next read the store")

    return tell
