"""A list of the tasks that run repairs what the bus lost, renews the lease, and outranks nothing that came later."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.aws.task_looks import LARGEST_EVENT_BYTES, parts
from pointsman.model.errors import InvalidInput
from pointsman.model.moments import moment_of
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.task_claim import MOST_CLUSTERS, read_task_settings
from pointsman.model.sources.task_list import DETAIL_TYPE, MOST_LISTED, Look, told_of
from pointsman.pipeline.heard import sources
from pointsman.pipeline.ingest import Ingested, ingest_all
from pointsman.pipeline.task_lists import SETTLED_SECONDS, expanded

from tests.model.reported import GROUPS, task
from tests.pipeline.meshes import proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place
from tests.share import share_of

SETTINGS = SourceSettings(read_task_settings(GROUPS))
CLUSTER = "arn:aws:ecs:eu-central-1:111122223333:cluster/mesh"
SOURCE = "ecs/eu-central-1/111122223333/mesh"
HEAD = "dc1/sidecar/api.default.dc2"
STARTED = "2026-03-02T10:00:38.901Z"
SOON, LATER, MUCH_LATER = "2026-03-02T10:01:00Z", "2026-03-02T10:30:00Z", "2026-03-02T11:30:00Z"


def arn(number: int) -> str:
    return f"arn:aws:ecs:eu-central-1:111122223333:task/mesh/{number:032x}"


def state(number: int, version: int = 3, **fields: Any) -> dict[str, Any]:
    """A task as ECS describes it, of the service api, at an address of its own."""
    detail = task("ecs-task-as-sent", version=version, taskArn=arn(number), **fields)["detail"]
    address = [{"name": "privateIPv4Address", "value": f"10.2.0.{number}"}]
    return detail | {"attachments": [{"type": "eni", "details": address}]} | fields


class Cluster(Place):
    """A caller of api, whose tasks run in one cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.configure(
            proxy_defaults(mode=""), resolver("api", Redirect={"Datacenter": "dc2"}), sidecar("client", "api")
        )

    def says(self, number: int, version: int = 3, updated: str = STARTED, **fields: Any) -> None:
        """ECS sends the event of a task."""
        detail = state(number, version, **fields) | {"updatedAt": updated}
        self.read({"detail-type": "ECS Task State Change", "source": "aws.ecs", "detail": detail})

    def look(self, at: str, *tasks: dict[str, Any], after: str = "", up_to: str = "") -> list[Ingested]:
        """A look that began at `at` found these."""
        return self.read(Look(CLUSTER, at, "20m").event(after, up_to, [told_of(each) for each in tasks]))

    def read(self, raw: dict[str, Any]) -> list[Ingested]:
        done = ingest_all(self.engine, expanded(self.engine, read_events(raw, SETTINGS)).events)
        assert not [each for each in done if isinstance(each, Exception)]
        return [each for each in done if isinstance(each, Ingested)]

    @property
    def kept(self) -> set[int]:
        """The numbers of the tasks of which anything is kept."""
        stored = self.engine.store.get("catalog/dc2/service/default/api")
        catalog = self.another().engine.readings.read("dc2/service/default/api", stored).catalog
        return {int(node, 16) for node in catalog.sources[SOURCE]["instances"]}

    @property
    def serving(self) -> dict[int, bool]:
        """By the numbers of the tasks that there are, whether they are healthy."""
        found = self.another().engine.readings
        stored = self.engine.store.get("catalog/dc2/service/default/api")
        instances = found.read("dc2/service/default/api", stored).instances
        return {int(each.local[0].rpartition(".")[2]): not each.critical for each in instances}


def test_what_the_bus_lost_is_repaired_by_the_next_look() -> None:
    cluster = Cluster()
    cluster.says(1)
    cluster.says(2)
    cluster.look(LATER, state(1), state(3))
    assert cluster.serving == {1: True, 3: True}, "task 3 was lost when it started, task 2 when it stopped"
    cluster.says(2, 4, LATER, lastStatus="STOPPED")
    cluster.says(2, 3)
    assert cluster.serving == {1: True, 3: True}, "its last words come late"
    assert [(each.source, each.datacenter, each.catalogs) for each in sources(cluster.engine)] == [(SOURCE, "dc2", 1)]


def test_the_second_look_that_finds_the_same_writes_nothing_but_its_lease() -> None:
    cluster = Cluster()
    cluster.says(1)
    cluster.look(SOON, state(1), state(2))
    before = {key: stored.etag for key, stored in cluster.objects.objects.items()}
    cluster.look(LATER, state(1), state(2))
    cluster.look(MUCH_LATER, state(2), state(1))
    changed = {key for key, stored in cluster.objects.objects.items() if before.get(key) != stored.etag}
    assert {key.partition("/")[0] for key in changed} == {"leases"}


def test_a_list_takes_nothing_from_what_ecs_said_later_and_its_own_word_brings_a_task_back() -> None:
    cluster = Cluster()
    cluster.says(1, 5, LATER, desiredStatus="STOPPED")
    cluster.look(SOON, state(1, 4))
    assert cluster.serving == {1: False}, "it is older than what is known"
    cluster.says(2, 3, SOON)
    cluster.look(SOON)
    assert 2 in cluster.serving, "it started when the look began"
    cluster.look(MUCH_LATER)
    assert cluster.serving == {}
    cluster.says(2, 4, MUCH_LATER)
    assert cluster.serving == {2: True}, "the look was wrong, ECS speaks of it"


def test_tombstones_end_with_a_look_and_nothing_that_is_gone_comes_back() -> None:
    cluster = Cluster()
    cluster.says(9)
    for number in range(1, 6):
        cluster.says(number, 3, STARTED)
        cluster.says(number, 4, SOON, lastStatus="STOPPED")
    cluster.says(7, 3, LATER)
    cluster.says(7, 4, LATER, lastStatus="STOPPED")
    assert len(cluster.kept) == 7
    cluster.look(LATER, state(9))
    assert cluster.kept == {7, 9}, "that of 7 is too young"
    for number in (1, 7):
        cluster.says(number, 3, STARTED)
        cluster.says(number, 4, SOON, desiredStatus="STOPPED")
    assert cluster.serving == {9: True}
    cluster.says(8, 3, SOON)
    assert cluster.serving == {9: True}, "its event came so late that it could be one of those that are gone"
    cluster.look(MUCH_LATER, state(8), state(9))
    assert cluster.serving == {8: True, 9: True}, "a look knows better"
    assert cluster.kept == {8, 9}
    assert cluster.promises.broken == []


def test_at_the_same_version_the_event_outranks_the_list_whichever_comes_first() -> None:
    exited = {"containers": [{"name": "envoy", "lastStatus": "STOPPED"}]}
    seen = set()
    for first in (True, False):
        cluster = Cluster()
        acts: list[Callable[[], object]] = [
            lambda cluster=cluster: cluster.says(1, 4, SOON, **exited),  # type: ignore[misc]
            lambda cluster=cluster: cluster.look(LATER, state(1, 4)),  # type: ignore[misc]
        ]
        for act in acts if first else acts[::-1]:
            act()
        seen.add(tuple(cluster.serving.items()))
    assert seen == {((1, False),)}


MINUTES = st.integers(0, 60)
LIVES = st.dictionaries(st.integers(1, 4), st.tuples(MINUTES, MINUTES | st.none()), min_size=1)
"""By the number of a task, the minutes at which it starts and at which it stops, None for never. Another one runs for
ever: of a cluster that never said anything, nothing is known that could be newer."""


@given(st.data(), LIVES, st.lists(MINUTES, max_size=4))
@settings(max_examples=share_of(40), deadline=None)
def test_whatever_is_lost_late_or_double_what_runs_is_there_after_one_more_look(
    data: st.DataObject, lives: dict[int, tuple[int, int | None]], looks: list[int]
) -> None:
    def runs(number: int, minute: int) -> bool:
        start, stop = lives[number]
        return start <= minute and (stop is None or max(start, stop) > minute)

    cluster, lives = Cluster(), {5: (0, None), **lives}

    def look(minute: int) -> None:
        cluster.look(clock(minute), *(state(number) for number in lives if runs(number, minute)))

    acts: list[Callable[[], object]] = [partial(look, minute) for minute in looks]
    for number, (start, stop) in lives.items():
        acts.append(partial(cluster.says, number, 3, clock(start)))
        if stop is not None:
            acts.append(partial(cluster.says, number, 4, clock(max(start, stop)), lastStatus="STOPPED"))
    for act in data.draw(st.lists(st.sampled_from(acts), max_size=12)):
        act()
    look(90)
    assert cluster.serving == {number: True for number in lives if runs(number, 90)}
    if looks:
        look(min(looks))
        assert cluster.serving == {number: True for number in lives if runs(number, 90)}, "a list that comes late"


def clock(minute: int) -> str:
    return f"2026-03-02T{10 + minute // 60}:{minute % 60:02}:00Z"


def test_each_part_of_a_list_speaks_of_its_own_ids_alone() -> None:
    cluster = Cluster()
    for number in (1, 2, 3, 4):
        cluster.says(number)
    ids = [arn(number).rpartition("/")[2] for number in range(5)]
    cluster.look(LATER, state(2), up_to=ids[2])
    assert set(cluster.serving) == {2, 3, 4}
    cluster.look(LATER, state(4), after=ids[2])
    assert set(cluster.serving) == {2, 4}
    large = [told_of(state(number)) | {"group": "x" * 4000} for number in range(120)]
    events = parts(Look(CLUSTER, LATER, "20m"), large)
    assert len(events) > 2
    assert [each["detail"]["after"] for each in events[1:]] == [each["detail"]["upTo"] for each in events[:-1]]
    assert (events[0]["detail"]["after"], events[-1]["detail"]["upTo"]) == ("", "")
    assert [task for each in events for task in each["detail"]["tasks"]] == large
    assert all(len(str(each["detail"]["tasks"])) < LARGEST_EVENT_BYTES * 1.2 for each in events)


def test_a_task_that_nobody_spoke_of_for_long_enough_is_gone_and_one_that_was_listed_alone_is_there() -> None:
    cluster = Cluster()
    began, looked = moment_of(STARTED), moment_of(LATER)
    assert began is not None
    assert looked is not None
    assert looked - began > SETTLED_SECONDS * 1000
    cluster.says(1)
    cluster.says(2, 3, "2026-03-02T10:26:00Z")
    cluster.read(Look(CLUSTER, LATER, "20m").event("", "", [{"taskArn": arn(3)}]))
    assert set(cluster.serving) == {2}


def test_a_list_renews_the_lease_of_its_cluster_and_a_cluster_that_is_not_looked_at_falls_silent() -> None:
    cluster = Cluster()
    cluster.look(SOON, state(1))
    (first,) = sources(cluster.engine)
    assert (first.lease_ms, first.index) == (20 * 60_000, moment_of(SOON))
    cluster.look(LATER)
    (second,) = sources(cluster.engine)
    assert second.index == moment_of(LATER), "also if nothing runs any more"
    assert cluster.serving == {}


def test_nothing_of_others_is_in_a_list() -> None:
    secret = [{"environment": [{"name": "PASSWORD", "value": "x"}, {"name": "POINTSMAN_PORT", "value": "1"}]}]
    found = told_of(
        state(1, overrides={"containerOverrides": secret}, tags=[{"key": "team", "value": "a"}], healthStatus="HEALTHY")
    )
    assert found["overrides"] == {"containerOverrides": [{"environment": [{"name": "POINTSMAN_PORT", "value": "1"}]}]}
    assert not {"tags", "healthStatus"} & found.keys()
    assert "10.2.0.1" in str(found)
    assert "eni-" not in str(found)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"clusterArn": "mesh"}, 'detail.clusterArn: "mesh" is not the ARN of one'),
        ({"lookedAt": "today"}, "detail.lookedAt: is not RFC 3339"),
        ({"tasks": [{"taskArn": "x"}]}, "is not the ARN of a task of this cluster"),
        ({"tasks": [{}] * (MOST_LISTED + 1)}, "10000"),
        ({"lease": "1s"}, "a lease lasts 3s to 24h"),
    ],
)
def test_a_list_that_is_none_is_refused(change: dict[str, Any], reason: str) -> None:
    detail = {"clusterArn": CLUSTER, "lookedAt": LATER, "tasks": []} | change
    with pytest.raises(InvalidInput, match=reason):
        read_events({"detail-type": DETAIL_TYPE, "detail": detail}, SETTINGS)


def test_a_task_of_a_list_that_is_nobodys_is_counted_and_the_others_count() -> None:
    cluster = Cluster()
    bad = state(2) | {"attachments": [], "containers": []}
    reading = read_events(Look(CLUSTER, LATER, "20m").event("", "", [state(1), bad, state(3, group="x")]), SETTINGS)
    (line,) = reading.ignored
    assert line.startswith("2 tasks of 3 listed, the first: task 0000")
    assert len(reading.events) == 1
    cluster.look(LATER, state(1), bad)
    assert cluster.serving == {1: True}


def test_so_many_clusters_are_looked_at() -> None:
    read_task_settings(f'{{"clusters": {str(["c"] * MOST_CLUSTERS).replace(chr(39), chr(34))}}}')
    with pytest.raises(InvalidInput, match="20"):
        read_task_settings(f'{{"clusters": {str(["c"] * (MOST_CLUSTERS + 1)).replace(chr(39), chr(34))}}}')
    with pytest.raises(InvalidInput, match="lease: is 1s; a lease lasts"):
        read_task_settings('{"lease": "1s"}')
