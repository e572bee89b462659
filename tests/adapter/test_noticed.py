"""A store followed by notices tells what they bring at once, all else as the store within does, and asks it seldom."""

import threading
import time
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from random import Random
from typing import Any

import pytest
from pointsman.adapter.follow.confirming import GAP_S, Meeting
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.running import follow
from pointsman.adapter.report.metrics import Metrics
from pointsman.aws.noticed import REREAD, NoticedStore
from pointsman.aws.notices import notice
from pointsman.aws.queue import NoticeQueue, QueueError, QueueLost
from pointsman.discovery.proxy import SidecarId
from pointsman.pipeline.moved import Moved, MovedManifest
from pointsman.store import keys
from pointsman.store.protocol import StoreError
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Clock, Remote
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.fleet.process import wait_until

S1 = SidecarId("dc1", "default", "s1")
PLAN = sidecar_plan()
HEAD = keys.snapshot(PLAN.key)
LAST = "the last"
MANIFEST = S1.manifest_keys[0]


class Line(NoticeQueue):
    """A queue without AWS: it delivers what a test sends, until it is lost."""

    def __init__(self, *, filtered: bool = False) -> None:
        self.name, self.filtered = "line", filtered
        self.said: SimpleQueue[str | None] = SimpleQueue()
        self.last = threading.Event()
        self.renewals, self.removed = 0, 0

    def receive(self, seconds: int = 20) -> list[Any]:
        """What was said, one thing at a time."""
        try:
            body = self.said.get(timeout=0.2)
        except Empty:
            return []
        if body == LAST:
            self.last.set()
        if body is None:
            raise QueueLost("the line is dead")
        return [{"Body": body}]

    def delete(self, messages: Any) -> None:
        """Nothing comes twice here."""

    def renew(self) -> bool:
        """It lives."""
        self.renewals += 1
        return True

    def remove(self) -> None:
        """Stop delivering."""
        self.removed += 1


class Noticed:
    """A NoticedStore on a store that can be away, and who tells it."""

    def __init__(self, store: Remote, clock: Clock, **more: Any) -> None:
        self.inner, self.clock = store, clock
        self.publisher = Publisher(store)
        self.lines: list[Line] = []
        self.allowed, self.filtered = True, False
        self.store = NoticedStore(store, self._make, clock=clock, pauses=(0.01,), **more)
        self.follower = Follower(self.store, [S1], clock=clock)

    def _make(self) -> NoticeQueue:
        if not self.allowed:
            raise QueueError("no line to be had")
        self.lines.append(Line(filtered=self.filtered))
        return self.lines[-1]

    def start(self) -> None:
        """Hear, and have everything."""
        self.store.start()
        wait_until(lambda: self.store.hearing, "notices to be heard")
        self.follower.refresh()
        self.follower.refresh()
        self.inner.asked.clear()

    def notice(self, key: str) -> str:
        """The notice of what the store has under `key`."""
        stored = self.inner.get(key)
        assert stored is not None
        told = Moved(key.removeprefix(keys.SNAPSHOTS), "dc1", 1, stored.data)
        manifest = MovedManifest(key, "dc1", 1, stored.data)
        return notice(told if key.startswith(keys.SNAPSHOTS) else manifest).decode()

    def say(self, key: str) -> None:
        """Tell what the store has under `key`."""
        self.lines[-1].said.put(self.notice(key))

    def wakes(self, timeout: float = 10) -> bool:
        """Whether `wait` comes back before its time."""
        began = time.monotonic()
        self.store.wait("1", timeout)
        return time.monotonic() - began < timeout

    def listen(self) -> None:
        """Have what was said so far; nothing of it was wrong."""
        self.lines[-1].said.put(LAST)
        wait_until(self.lines[-1].last.is_set, "the last to be heard")
        self.lines[-1].last.clear()
        self.follower.refresh()
        assert self.follower.problems(S1) == ()

    def version(self) -> int:
        """Which version of s2's cluster is there."""
        view = self.follower.view(S1)
        assert view is not None
        return view.snapshots["s2.default.dc1"].version

    def active(self) -> str:
        """The datacenter that serves s2."""
        view = self.follower.view(S1)
        assert view is not None
        return view.snapshots["s2.default.dc1"].content.active[-3:]


@pytest.fixture
def noticed(store: Remote, clock: Clock) -> Iterator[Noticed]:
    """Followed by notices; nothing is started yet."""
    made = Noticed(store, clock, identity="here")
    made.publisher.head(PLAN, content())
    made.publisher.manifest(MANIFEST, SidecarManifest(1, ("s2.default.dc1",), ()))
    yield made
    made.store.close()
    assert all(line.removed == 1 for line in made.lines)


def test_a_notice_wakes_who_waits_and_nothing_is_asked_until_a_reread_is_due(noticed: Noticed) -> None:
    noticed.start()
    noticed.publisher.head(PLAN, content(["dc2"]))
    assert noticed.follower.refresh() == set()
    noticed.say(HEAD)
    assert noticed.wakes()
    assert noticed.follower.refresh() == {S1}
    assert noticed.active() == "dc2"
    assert noticed.inner.asked == []
    # A notice that got lost.
    noticed.publisher.head(PLAN, content(["dc3"]))
    noticed.clock.now += REREAD[0] - 1
    assert noticed.follower.refresh() == set()
    noticed.clock.now += REREAD[1] - REREAD[0] + 2
    assert noticed.wakes()
    assert noticed.follower.refresh() == {S1}
    assert noticed.active() == "dc3"
    assert len(noticed.inner.asked) == 1


def test_whatever_the_order_and_however_often_the_newest_stays(noticed: Noticed) -> None:
    noticed.start()
    random, version = Random(7), 1
    for _ in range(20):
        told = []
        for number in range(5):
            noticed.publisher.head(PLAN, content([f"dc{2 + number % 2}"]))
            told.append(noticed.notice(HEAD))
        told += random.choices(told, k=5)
        random.shuffle(told)
        for text in told:
            noticed.lines[-1].said.put(text)
            if random.random() < 0.5:
                noticed.listen()
                before, version = version, noticed.version()
                assert before <= version
        noticed.listen()
        newest = noticed.publisher.body(HEAD)
        assert newest is not None
        assert noticed.version() == newest["version"]
    assert noticed.inner.asked == []


def test_a_late_notice_is_hearsay_and_a_restored_bucket_is_noticed_by_the_reread_or_by_an_envoy_that_is_ahead(
    noticed: Noticed,
) -> None:
    saved = noticed.inner.backup()
    noticed.start()
    early = noticed.notice(HEAD)
    for datacenter in ("dc2", "dc3", "dc2"):
        noticed.publisher.head(PLAN, content([datacenter]))
    noticed.say(HEAD)
    noticed.listen()
    assert noticed.active() == "dc2"
    for ahead in (False, True):
        noticed.inner.restore(saved)
        noticed.lines[-1].said.put(early)
        noticed.listen()
        noticed.follower.confirm(lambda changed: None)
        assert (noticed.active(), noticed.inner.confirmed) == ("dc2", []), "one read for each late notice"
        if ahead:
            noticed.follower.meet(Meeting(S1, None, "an Envoy", lambda: None))
        else:
            noticed.clock.now += REREAD[1] + 1
            noticed.follower.refresh()
        noticed.follower.confirm(lambda changed: None)
        assert (noticed.active(), len(noticed.inner.confirmed)) == ("dc1", 1)
        # From there on it is told of again, under numbers that were used before.
        for datacenter in ("dc3", "dc2"):
            noticed.publisher.head(PLAN, content([datacenter]))
            noticed.say(HEAD)
            noticed.listen()
            assert noticed.active() == datacenter
        noticed.inner.confirmed.clear()
        noticed.clock.now += GAP_S


def test_a_fleet_does_not_reread_at_once(store: Remote, clock: Clock) -> None:
    periods = {NoticedStore(store, Line, identity=f"host-{number}", clock=clock)._period() for number in range(50)}
    assert len(periods) == 50
    assert REREAD[0] <= min(periods) < REREAD[0] + 5 < REREAD[1] - 5 < max(periods) <= REREAD[1]


def test_a_new_filter_is_not_trusted_yet(noticed: Noticed) -> None:
    noticed.filtered = True
    noticed.start()
    noticed.publisher.head(PLAN, content(["dc2"]))
    noticed.clock.now += REREAD[1] / 3
    assert noticed.follower.refresh() == {S1}
    noticed.clock.now += 15 * 60
    noticed.follower.refresh()
    noticed.publisher.head(PLAN, content(["dc3"]))
    noticed.clock.now += REREAD[0] - 1
    assert noticed.follower.refresh() == set()


def test_while_the_store_is_away_notices_are_taken_all_the_same(
    noticed: Noticed, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed.start()
    noticed.publisher.head(PLAN, content(["dc2"]))
    noticed.say(HEAD)
    assert noticed.wakes()
    noticed.clock.now += 100
    noticed.inner.leave()
    assert noticed.follower.refresh() == {S1}
    assert noticed.active() == "dc2"
    assert noticed.follower.refresh() == set()
    assert "gone for now" in noticed.follower.unreachable
    # What has to be read is read when the store is back, though nobody tells of it again.
    monkeypatch.setattr("pointsman.aws.notices.LARGEST_BYTES", 10)
    noticed.inner.come_back()
    assert noticed.follower.refresh() == set()
    noticed.publisher.head(PLAN, content(["dc3"]))
    noticed.say(HEAD)
    assert noticed.wakes()
    noticed.inner.leave()
    assert noticed.follower.refresh() == set()
    noticed.inner.come_back()
    noticed.inner.asked.clear()
    assert noticed.follower.refresh() == {S1}
    assert noticed.active() == "dc3"
    assert noticed.inner.asked == [frozenset({HEAD})]


def test_while_nothing_is_heard_the_store_is_asked_as_often_as_without_notices(noticed: Noticed) -> None:
    metrics = Metrics(lambda: 0.0, lambda: "")
    metrics.watch_notices(lambda: noticed.store.hearing)
    noticed.allowed = False
    noticed.store.start()
    wait_until(lambda: noticed.store.deaf_because == "no line to be had", "the first try")
    assert b"\npointsman_notices_heard 0.0\n" in metrics.text()
    assert noticed.follower.refresh() == {S1}
    for serving in ("dc2", "dc3", "dc2"):
        noticed.publisher.head(PLAN, content([serving]))
        assert not noticed.wakes(0.05)
        assert noticed.follower.refresh() == {S1}
        assert noticed.active() == serving
    noticed.allowed = True
    wait_until(lambda: noticed.store.hearing, "notices to be heard")
    assert b"\npointsman_notices_heard 1.0\n" in metrics.text()
    # What nobody told while it was not heard.
    noticed.publisher.head(PLAN, content(["dc3"]))
    assert noticed.follower.refresh() == {S1}
    noticed.inner.asked.clear()
    assert noticed.follower.refresh() == set()
    assert noticed.inner.asked == []


def test_a_line_that_dies_is_replaced_and_what_went_unheard_is_read(noticed: Noticed) -> None:
    noticed.start()
    noticed.lines[0].said.put(None)
    wait_until(lambda: len(noticed.lines) == 2 and noticed.store.hearing, "another line")
    noticed.publisher.head(PLAN, content(["dc2"]))
    assert noticed.follower.refresh() == {S1}
    assert noticed.lines[0].removed == 1


def test_new_proxies_are_looked_for_when_a_manifest_was_written_and_not_all_the_time(noticed: Noticed) -> None:
    noticed.start()
    noticed.inner.listed.clear()
    stop, looks = threading.Event(), []
    s9 = SidecarId("dc1", "default", "s9")
    following = threading.Thread(
        target=follow,
        args=(noticed.follower, stop, lambda changed: looks.append(changed)),
        kwargs={"period": 0.01, "discovery_period": 0.0},
    )
    following.start()
    try:
        wait_until(lambda: len(looks) > 50, "it to look around")
        before = len(noticed.inner.listed)
        assert before <= 3
        noticed.say(HEAD)
        noticed.publisher.manifest(s9.manifest_keys[0], SidecarManifest(1, ("s2.default.dc1",), ()))
        noticed.say(s9.manifest_keys[0])
        wait_until(lambda: noticed.follower.view(s9) is not None, "the new proxy")
        assert len(noticed.inner.listed) <= before + 3
    finally:
        stop.set()
        following.join()


def test_life_is_shown_at_times_that_differ_and_a_closed_store_says_so(noticed: Noticed) -> None:
    noticed.start()
    noticed.clock.now += 600
    wait_until(lambda: noticed.lines[0].renewals == 1, "a renewal")
    noticed.follower.refresh()
    waiting: list[bool] = []
    waits = threading.Thread(target=lambda: waiting.append(noticed.store.wait("1", 60)))
    waits.start()
    noticed.store.close()
    waits.join(10)
    assert waiting == [False]
    with pytest.raises(StoreError):
        noticed.store.wait("1", 60)
    with pytest.raises(StoreError):
        noticed.store.get(HEAD)
