"""An adapter that follows a stack by notices, and what it did."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pointsman.adapter.follow.follower import Follower
from pointsman.aws.noticed import NoticedStore
from pointsman.aws.queue import NoticeQueue
from pointsman.aws.topic import read_topic
from pointsman.discovery.proxy import ProxyId, SidecarId
from pointsman.store.s3 import S3Store

from tests.adapter.doubles import Clock
from tests.aws.harness import Aws
from tests.fleet.process import wait_until

S1 = SidecarId("dc1", "default", "s1")


class Heard(NoticeQueue):
    """A queue that remembers what came over it."""

    def __init__(self, *about: Any, **named: Any) -> None:
        self.bodies: list[str] = []
        super().__init__(*about, **named)

    def receive(self, seconds: int = 20) -> list[Any]:
        """As a queue does."""
        found = super().receive(seconds)
        self.bodies += [each["Body"] for each in found]
        return found


@dataclass
class Adapter:
    """A follower on a NoticedStore on the bucket of `aws`. Its clock stands still: nothing is due by time alone."""

    aws: Aws
    proxies: Sequence[ProxyId] = (S1,)
    datacenters: Sequence[str] = ()
    clock: Clock = field(default_factory=Clock)
    made: list[Heard] = field(default_factory=list)
    tries: int = 0

    def __post_init__(self) -> None:
        self.topic = str(self.aws.stack.refs["Notices"])
        self.sqs, self.sns, s3 = (self.aws.client(name, "Adapter") for name in ("sqs", "sns", "s3"))
        inner = S3Store(s3, self.aws.stack.refs["Bucket"])
        self.store = NoticedStore(
            inner, self.make, frozenset(self.datacenters), identity="here", clock=self.clock, pauses=(0.02,)
        )
        self.follower = Follower(self.store, self.proxies)

    def make(self) -> NoticeQueue:
        """A new queue."""
        self.tries += 1
        topic = read_topic(self.topic, "--notices")
        self.made.append(Heard(self.sqs, self.sns, topic, datacenters=self.datacenters, host="host"))
        return self.made[-1]

    def start(self) -> None:
        """Hear, and have everything."""
        self.store.start()
        wait_until(lambda: self.store.hearing, "notices to be heard")
        # Once to read, once more to compare what was written before one heard.
        self.follower.refresh()
        self.follower.refresh()

    def reads(self) -> list[str]:
        """What it read of the bucket since the last time it was asked, by key."""
        mine = [call for call in self.aws.calls if (call.function, call.service) == ("Adapter", "s3")]
        self.aws.calls[:] = [call for call in self.aws.calls if call not in mine]
        return [str(call.parameters.get("Key", call.operation)) for call in mine]

    def changed(self, what: str) -> set[ProxyId]:
        """The proxies whose views change next."""
        return wait_until(self.follower.refresh, what)

    def active(self, proxy: ProxyId = S1) -> dict[str, str]:
        """By cluster, the datacenter that serves it."""
        view = self.follower.view(proxy)
        assert view is not None
        return {name.split(".")[0]: each.content.active.rpartition(".")[2] for name, each in view.snapshots.items()}

    def url(self) -> str:
        """The URL of its queue."""
        return str(self.aws.sqs.get_queue_url(QueueName=self.made[-1].name)["QueueUrl"])

    def send(self, *bodies: str) -> None:
        """Put messages into its queue, whatever they are, and wait until it has received them."""
        heard = len(self.made[-1].bodies)
        for body in bodies:
            self.aws.sqs.send_message(QueueUrl=self.url(), MessageBody=body)
        wait_until(lambda: len(self.made[-1].bodies) >= heard + len(bodies), "messages to be received")


@contextmanager
def following(aws: Aws, *proxies: ProxyId, datacenters: Sequence[str] = ()) -> Iterator[Adapter]:
    """An adapter that hears and has everything, for as long as the block lasts."""
    adapter = Adapter(aws, proxies or (S1,), datacenters)
    try:
        adapter.start()
        adapter.reads()
        yield adapter
    finally:
        adapter.store.close()


def queues(aws: Aws) -> list[str]:
    """The names of all adapters' queues."""
    found = aws.sqs.list_queues(QueueNamePrefix="pointsman-adapter-").get("QueueUrls", [])
    return [url.rpartition("/")[2] for url in found]


def subscriptions(aws: Aws) -> list[str]:
    """The names of the queues that are subscribed to the topic."""
    found = aws.sns.list_subscriptions_by_topic(TopicArn=aws.stack.refs["Notices"])["Subscriptions"]
    return [each["Endpoint"].rpartition(":")[2] for each in found]
