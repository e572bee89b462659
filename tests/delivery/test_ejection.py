"""What dies without an event stops getting requests, in the smallest groups too; what answers 500 does not."""

from pathlib import Path

import pytest

from tests.delivery.ejection import HAPPENS, Measured, fail_one, kill_one, measure
from tests.delivery.group import Group, Reach
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40

pytestmark = pytest.mark.envoy

MOST_FAILING = 80
"""Of 200 requests, while Envoy notices: five for each sender and each that is dead, and what is asked while it applies
that. A dead half of a group would fail a hundred."""


def test_one_of_two_dies_without_an_event_and_gets_nothing_more(tmp_path: Path) -> None:
    with Group("direct", 2, tmp_path) as group:
        first, second = sorted(group.instances)
        group.restart(first, status=500)
        # Half of the answers are 500, and nobody is ejected for it.
        assert group.ask().total() == 100
        assert group.ejected() == set()
        found = measure(group, lambda group: group.instances[second].kill())
        assert found.ejected == {("s1", second)}
        # The other one answers, as it does: 500.
        assert group.ask() == {"answered 500": 200}
        group.restart(first)
        assert group.ask(100).total() <= 1  # one on a connection to the one that ended


def test_one_of_two_dies_behind_a_gateway_without_an_event_and_gets_nothing_more(tmp_path: Path) -> None:
    with Group("remote", 2, tmp_path, protocol="tcp") as group:
        found = measure(group, kill_one)
        assert 0 < found.first <= MOST_FAILING
        assert found.next == 0
        # It is the gateway that ejects the instance, and nobody the gateway.
        assert found.ejected == {("gateway-dc2-0", "s2-dc2-0")}


@pytest.mark.soak
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
@pytest.mark.parametrize("protocol", ["http", "tcp"])
@pytest.mark.parametrize(
    ("what", "reach", "gateways", "hosts"),
    [
        (what, reach, gateways, hosts)
        for what, (_, reaches, sizes) in HAPPENS.items()
        for reach, gateways in reaches
        for hosts in sizes
    ],
)
def test_after_a_death_that_no_event_tells_of_few_requests_fail(
    what: str, reach: Reach, gateways: int, hosts: int, protocol: str, binary: Path, tmp_path: Path
) -> None:
    happens = HAPPENS[what][0]
    with Group(reach, hosts, tmp_path, gateways=gateways, protocol=protocol, binary=binary) as group:
        found = measure(group, happens)
    if happens is fail_one:
        assert found.ejected == set()
    elif happens is kill_one and hosts == 1:
        # Nobody else is there, and it is not ejected, so that it serves as soon as it is back.
        assert found.first == found.next == 200
        assert not {name for _, name in found.ejected if name.startswith("s2")}
    else:
        assert found == Measured(found.first, 0, found.ejected)
        assert found.first <= MOST_FAILING
