"""Leases: what an event may say of one, and when an observer takes a source for silent."""

from dataclasses import replace
from typing import Any

import pytest
from pointsman.model.errors import InvalidInput
from pointsman.model.events import parse_event
from pointsman.model.instance import Instance, read_instance
from pointsman.model.lapse import Watch, look
from pointsman.model.lease import (
    MOST_CATALOGS,
    Lease,
    Silence,
    heard_again,
    lease_json,
    marked,
    published_again,
    read_lease,
    read_silence,
    renewed,
    silence_json,
    silenced,
)
from pointsman.model.stored import Damaged

from tests.pipeline.meshes import alive, event, instance

ALIVE = {"Source": "agent-1", "Index": 7, "Datacenter": "dc2", "Lease": "30s"}


def test_any_event_may_carry_a_lease_and_one_kind_does_nothing_else() -> None:
    assert event("web", 1, [instance("web")]).lease_ms is None
    assert event("web", 1, [instance("web")], lease="1m30s").lease_ms == 90_000
    said = parse_event({"detail-type": "Source Alive", "detail": ALIVE})
    assert (said.is_alive, said.lease_ms, said.source, said.datacenter, said.statements) == (
        (True, 30_000, "agent-1", "dc2", ())
    )
    assert parse_event({"detail-type": "Source Alive", "detail": {**ALIVE, "Lease": "0s"}}).lease_ms == 0


@pytest.mark.parametrize(
    ("detail", "reason"),
    [
        ({"Lease": "2s"}, "Lease: is 2s; a lease lasts 3s to 24h, and 0s ends it"),
        ({"Lease": "25h"}, "a lease lasts 3s to 24h"),
        ({"Lease": "soon"}, 'Lease: "soon" is not a duration'),
        ({"Lease": 30}, "Lease: 30 is 30 nanoseconds; write 30s"),
        ({"Lease": None}, "Lease: is required"),
        (
            {"Service": "web"},
            'detail-type: "Source Alive" does nothing but renew the lease, so it goes without Service',
        ),
        ({"Instances": []}, "so it goes without Instances"),
        ({"Datacenter": "DC 2"}, 'Datacenter: "DC 2" is not a lower-case DNS label'),
    ],
)
def test_what_is_no_lease_is_refused_with_the_way_out(detail: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_event({"detail-type": "Source Alive", "detail": {**ALIVE, **detail}})
    assert reason in str(refused.value)


def test_only_what_is_newer_renews_a_lease() -> None:
    first = renewed(None, alive(5), None, "10:00")
    assert first == Lease("consul", "dc1", 30_000, (0, 5), (), "10:00")
    for late in (alive(5), alive(4)):
        assert renewed(first, late, None, "10:01") is first
    again = renewed(first, event("web", 6, [instance("web")], lease="1m"), "dc1/service/default/web", "10:02")
    assert again == Lease("consul", "dc1", 60_000, (0, 6), ("dc1/service/default/web",), "10:02")
    assert renewed(again, event("web", 7, [instance("web")]), "dc1/service/default/web", "10:03") is again


def test_the_catalogs_of_a_source_are_noted_up_to_a_bound() -> None:
    lease = renewed(None, alive(0), None, "")
    for number in range(MOST_CATALOGS):
        lease = renewed(lease, alive(number + 1), f"dc1/service/default/s{number}", "")
    assert lease is not None
    assert lease.catalogs is not None
    assert len(lease.catalogs) == MOST_CATALOGS
    for number in (MOST_CATALOGS, MOST_CATALOGS + 1):
        lease = renewed(lease, alive(number + 1), f"dc1/service/default/s{number}", "")
        assert lease is not None
        assert lease.catalogs is None, "from here on all of the datacenter is meant"
        assert read_lease(lease_json(lease)) == lease


def test_silence_grows_with_who_is_silent_and_ends_with_a_word_of_the_source() -> None:
    lease = Lease("agent", "dc2", 30_000, (0, 2**62), (), "")
    silent = silenced(Silence(), [lease], "10:00")
    assert (silent.revision, list(silent.sources)) == (1, ["agent"])
    assert silenced(silent, [lease], "11:00") is silent
    assert heard_again(silent, [lease]) is silent, "it was heard last before it fell silent"
    newer = Lease("agent", "dc2", 30_000, (0, 2**62 + 1), (), "")
    back = heard_again(silent, [newer])
    assert (back.revision, back.has("agent"), list(back.sources)) == (2, False, ["agent"])
    assert heard_again(back, [newer]) is back
    assert published_again(back, [newer]) == Silence(2, {}), "nobody's choice depends on it any more"
    assert published_again(silent, [newer]) is silent
    assert heard_again(silent, [Lease("agent", "dc2", 0, (0, 2**62), (), "")]) == back
    assert silenced(back, [newer], "12:00").has("agent")
    for value, written, read in ((lease, lease_json(lease), read_lease), (back, silence_json(back), read_silence)):
        assert read(written) == value  # type: ignore[operator]
    with pytest.raises(Damaged, match=r"its index is -1, which is not a text"):
        read_lease(lease_json(lease) | {"index": -1})


def test_the_instances_of_silent_sources_are_marked() -> None:
    def told_by(source: str) -> Instance:
        return read_instance(instance("web"), "web", source)

    silence = silenced(Silence(), [Lease("agent", "dc2", 30_000, (0, 1), (), "")], "")
    assert [each.silent for each in marked([told_by("agent"), told_by("consul")], silence)] == [True, False]


class Observed:
    """Sources with leases of 80 s, one observer of them, and time."""

    def __init__(self, *sources: str) -> None:
        self.heard = dict.fromkeys(sources, 1)
        self.watch, self.out = Watch(), list[str]()
        self.wait(0)

    def wait(self, seconds: float, *speak: str, step: float = 1) -> list[str]:
        """For so many seconds, these sources speak every 26 s at first and the observer looks every `step`; who is
        silent in the end."""
        passed = 0.0
        while True:
            if passed % 26 < step:
                self.heard |= {each: self.heard[each] + 1 for each in speak}
            leases = {each: Lease(each, "dc", 80_000, (0, count), (), "") for each, count in self.heard.items()}
            self.watch, self.out = look(self.watch, leases, round(step * 1000) if seconds else 0)
            passed += step
            if passed >= seconds:
                return self.out


def test_a_source_that_was_not_heard_for_its_lease_is_silent_and_no_other_is() -> None:
    world = Observed("one", "two", "three")
    assert world.wait(1, "one", "two", "three") == []
    assert world.wait(79, "one", "three") == []
    assert world.wait(2, "one", "three") == ["two"]
    assert world.wait(200, "one", "three") == ["two"]
    assert world.wait(1, "two") == []


def test_one_source_left_alone_is_enough_to_hear_that_all_others_are_silent() -> None:
    world = Observed("one", *(f"s{number}" for number in range(40)))
    assert len(world.wait(90, "one")) == 40


def test_total_silence_condemns_nobody_nor_does_the_time_after_it() -> None:
    world = Observed("one", "two", "three")
    world.wait(1, "one", "two", "three")
    for _ in range(100):
        assert world.wait(10) == []
    assert world.wait(30, "one") == [], "those that speak next may be a moment behind the first"
    assert world.wait(40, "one", "two") == []
    assert world.wait(60, "one", "two") == ["three"], "and who stays silent for a whole lease from there is silent"


def test_an_observer_that_starts_waits_for_a_whole_lease() -> None:
    world = Observed("one", "two")
    world.wait(200, "one")
    assert world.out == ["two"]
    world.watch = Watch()
    assert world.wait(79, "one") == []
    assert world.wait(10, "one") == ["two"]


@pytest.mark.parametrize(
    ("of_all", "dark", "moving"),
    [(2, 1, False), (10, 8, False), (10, 8, True), (3, 2, True), (200, 199, False), (200, 1, True)],
)
def test_a_dark_datacenter_is_found_however_many_of_all_sources_it_has_and_while_hosts_come_and_go(
    of_all: int, dark: int, moving: bool
) -> None:
    lease_ms, look_ms = 30_000, 1_000
    leases = {f"s{number}": Lease(f"s{number}", "dc", lease_ms, (0, 1), (), "") for number in range(of_all)}
    watch, out = look(Watch(), leases, 0)
    found_ms = None
    for now in range(look_ms, 120_000, look_ms):
        for number, name in enumerate(list(leases)):
            is_alive = name.startswith("host") or number >= dark or now <= lease_ms
            # Each at a third of its lease, and not all at once.
            if is_alive and (now // look_ms + number) % 10 == 0:
                leases[name] = replace(leases[name], heard=(0, leases[name].heard[1] + 1))
        if moving and now % 7_000 == 0:
            leases[f"host{now}"] = Lease(f"host{now}", "dc", lease_ms, (0, 1), (), "")
            gone = min((name for name in leases if name.startswith("host")), key=lambda name: int(name[4:]))
            leases[gone] = replace(leases[gone], lease_ms=0, heard=(0, 10**6))
        watch, out = look(watch, leases, look_ms)
        assert {name for name in out if name.startswith("host") or int(name[1:]) >= dark} == set()
        if found_ms is None and len(out) == dark:
            found_ms = now
    # The dark ones were last heard in the ten seconds up to the end of the first 30.
    assert found_ms is not None
    assert found_ms <= 2 * lease_ms + look_ms


def test_a_lease_that_ended_is_nobodys_silence() -> None:
    leases = {"one": Lease("one", "dc", 0, (0, 1), (), ""), "two": Lease("two", "dc", 10_000, (0, 1), (), "")}
    watch, out = look(Watch(), leases, 0)
    for index in range(2, 9):
        leases["two"] = Lease("two", "dc", 10_000, (0, index), (), "")
        watch, out = look(watch, leases, 3_000)
        assert out == []
