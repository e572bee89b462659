"""What producers of other kinds send is understood: Consul watches, ECS tasks, lists that are elsewhere."""

import json

from pointsman.model.names import ServiceName
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.pointer import Pointer
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.task_claim import read_task_settings

from tests.model.reported import GROUPS, LISTS, changed, checks, entries, only, sample, serving, visible, watch


def test_a_watch_of_a_service_states_its_instances_with_their_nodes_health() -> None:
    event = only(read_events(sample("consul-watch-service")))
    assert (event.source, event.index, event.datacenter, event.full) == ("consul-dc1", 48262, "dc1", True)
    assert event.service == ServiceName("default", "api")
    assert serving([event]) == {("10.1.0.11", 21000): True, ("10.1.0.12", 21000): False}


def test_a_watch_of_checks_moves_checks_and_no_address() -> None:
    instances, checks = (
        only(read_events(sample("consul-watch-service"))),
        only(read_events(sample("consul-watch-checks"))),
    )
    assert serving([checks]) == {}
    assert serving([instances, checks]) == {("10.1.0.11", 21000): False, ("10.1.0.12", 21000): False}
    assert serving([checks, instances]) == serving([instances, checks])
    described = {node: body["Service"] for node, body in visible([instances])}
    assert {node: body["Service"] for node, body in visible([instances, checks])} == described


def test_a_task_runs_as_an_instance_with_its_containers_health_and_stops() -> None:
    running, stopped = only(read_events(sample("ecs-task-running"))), only(read_events(sample("ecs-task-stopped")))
    assert (running.source, running.index, running.datacenter) == ("ecs/eu-central-1/111122223333/mesh", 3, "dc2")
    assert serving([running]) == {("10.2.0.139", 21000): True}
    ((_, body),) = visible([running])
    assert body["Node"]["Meta"]["availability_zone"] == "eu-central-1b"
    assert body["Service"]["Meta"]["task_definition"] == "api:14"
    assert [check["Name"] for check in body["Checks"]] == ["ECS container api", "ECS container envoy", "ECS task"]
    assert serving([running, stopped]) == serving([stopped, running]) == {}


def test_a_task_as_aws_sends_it_is_an_instance_by_its_group() -> None:
    as_sent = sample("ecs-task-as-sent")
    assert serving(read_events(as_sent, SourceSettings(read_task_settings(GROUPS))).events) == {
        ("10.2.0.140", 21000): True
    }
    reading = read_events(as_sent)
    assert reading.events == ()
    assert 'its group "service:api" is not mapped to a service' in reading.ignored[0]


def test_a_list_that_is_elsewhere_is_named_and_filled_in() -> None:
    pointer = read_events(sample("instances-at"), LISTS).missing
    assert isinstance(pointer, Pointer)
    assert str(pointer) == "s3://pointsman-test/mesh/incoming/consul-dc3/api.json"
    instances = sample("bare-detail")["Instances"]
    event = only(read_events(pointer.filled(json.dumps(instances).encode()), LISTS))
    assert event.full
    assert (event.index, event.id) == (7802, sample("instances-at")["id"])
    assert serving([event]) == {("10.3.0.11", 21000): True}


def test_native_events_are_read_as_ever() -> None:
    for name in ("service-health-changed", "instance-health-changed", "gateway-health-changed", "bare-detail"):
        assert only(read_events(sample(name), LISTS)).statements


def test_a_bare_result_is_what_its_parameters_and_its_header_say() -> None:
    event = only(watch(entries()))
    assert (event.source, event.epoch, event.index, event.time) == ("consul-dc1", 0, 7, "")
    event = only(watch(entries(), "7", source="consul-a", epoch="2", index="9", namespace="team"))
    assert (event.source, event.epoch, event.index) == ("consul-a", 2, 9)
    assert event.service == ServiceName("team", "api")


def test_no_instance_left_is_a_list_too() -> None:
    there, gone = only(watch(entries(), "7")), only(watch([], "8"))
    assert serving([there, gone]) == serving([gone, there]) == {}


def test_mesh_gateways_are_watched_by_their_kind() -> None:
    gateways = sample("gateway-health-changed")["detail"]["Instances"]
    event = only(read_events(watch_event({"type": "service", "dc": "dc1", "kind": "mesh-gateway"}, "7", gateways)))
    assert event.service is None
    assert serving([event], "") == {("10.1.0.21", 8443): True, ("10.1.0.22", 8443): True}


def test_a_watch_of_what_is_no_sidecar_is_taken_in_and_told() -> None:
    plain = [{"Node": {"Node": "n"}, "Service": {"ID": "api-1", "Service": "api", "Port": 80}, "Checks": []}]
    reading = watch(plain)
    assert serving(reading.events) == {}
    assert 'watch the name that the sidecars have, usually "api-sidecar-proxy"' in reading.ignored[0]
    assert watch([*plain, *entries()]).ignored == ()


def test_a_datacenter_whose_name_cannot_stand_here_is_given_another() -> None:
    moved = entries(**{"0__Node__Datacenter": "US_East", "1__Node__Datacenter": "US_East"})
    assert only(watch(moved, dc="us-east")).datacenter == "us-east"


def test_the_checks_of_a_node_are_those_of_every_instance_on_it() -> None:
    instances = only(read_events(sample("consul-watch-service")))
    well = [changed({"": check}, __Status="passing")[""] for check in checks()]
    assert serving([instances, only(watch(well, "48271", type="checks"))]) == dict.fromkeys(serving([instances]), True)
    dark = [
        {**check, "Status": "critical"} if check["Node"] == "api-1.dc1" and not check["ServiceID"] else check
        for check in well
    ]
    after = serving([instances, only(watch(dark, "48271", type="checks"))])
    assert after == {("10.1.0.11", 21000): False, ("10.1.0.12", 21000): True}


def test_checks_of_others_say_nothing() -> None:
    reading = watch(checks(), type="checks", service="db")
    assert reading.events == ()
    assert 'is of a service registered as "db-sidecar-proxy"' in reading.ignored[0]
    native = only(watch(checks(), type="checks", registered="api"))
    assert [(each.node, each.id) for each in native.statements] == [("api-1.dc1", "api-1")]
