"""Which mesh gateways an Envoy gets: the ill ones only where none on the way is well."""

from dataclasses import replace

import pytest
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from pointsman.chain.plan import GatewayRemotePlan, Plan, PlanTarget, SidecarPlan
from pointsman.delivery.deliver import EnvoyVersion, Form, deliver_cluster
from pointsman.delivery.endpoint_source import EndpointFiles
from pointsman.model.instance import Instance
from pointsman.model.keys import gateways_key, paths_key, service_key
from pointsman.model.names import ServiceName, Target
from pointsman.model.policy import Gateways, Policy
from pointsman.model.upstream_config import Mode
from pointsman.xds.assignment import place_of
from pointsman.xds.content import Content, InconsistentContent, compute
from pointsman.xds.snapshot import read_snapshot, snapshot_json

from tests.adapter.published import TRUST_DOMAIN, snapshot

FILES = EndpointFiles("/var/lib/envoys/eds")
NEW: EnvoyVersion = (1, 40, 0)


def plan(mode: Mode, gateways: Gateways = "avoid", *, tiers: bool = False) -> SidecarPlan:
    """s2 of dc2 as seen from dc1, with dc3 to fail over to; in `tiers` only the way to dc2 leads through gateways."""
    targets = [
        PlanTarget(Target("s2", "", "default", dc), mode="none" if tiers and dc == "dc3" else mode)
        for dc in ("dc2", "dc3")
    ]
    return SidecarPlan("dc1", "tcp", "", 5000, tuple(targets), policy=Policy(gateways=gateways))


def mesh(**gateways: str) -> dict[str, list[Instance]]:
    """s2 well in dc2 and dc3, and the gateways of each datacenter by letters: w is well, i ill, 0 well with weight 0, c
    well and not reached from dc1, and a letter in capitals is at the place of the first."""
    found = {
        gateways_key(dc): [_gateway(i, letter, int(dc[-1])) for i, letter in enumerate(letters)]
        for dc, letters in gateways.items()
    }
    found[paths_key("dc1")] = [
        replace(gateway, critical=True, local=gateway.remote)
        for dc, letters in gateways.items()
        for letter, gateway in zip(letters, found[gateways_key(dc)], strict=True)
        if letter == "c"
    ]
    for dc in ("dc2", "dc3"):
        place = (f"10.{dc[-1]}.0.1", 8000)
        name = service_key(dc, ServiceName("default", "s2"))
        found[name] = [Instance({}, True, False, False, True, None, place, place)]
    return found


def _gateway(number: int, letter: str, dc: int) -> Instance:
    ill, port = letter in "iI", 1 if letter in "IW" else number + 1
    weights = (0, 0) if letter == "0" else None
    return Instance({}, True, ill, False, not ill, weights, (f"10.{dc}.1.1", port), (f"203.0.{dc}.1", port))


def delivered(of: Content) -> list[list[str]]:
    """The places of each tier as an Envoy gets them."""
    given = ClusterLoadAssignment.FromString(deliver_cluster(snapshot(of), Form(True, FILES)).assignment)
    return [[f"{ip}:{port}" for ip, port in map(place_of, group.lb_endpoints)] for group in given.endpoints]


REMOTE = GatewayRemotePlan("dc1", "dc2")
LOCAL = "dc2: 1 of 1 healthy, through the local gateways"
NO_WAY = f"{LOCAL}, but no way through well gateways leads to it"
OWN, THERE, DIRECT = "10.1.1.1", "203.0.2.1", ["10.3.0.1:8000"]


@pytest.mark.parametrize(
    ("of", "gateways", "gets"),
    [
        (plan("local"), {"dc1": "ww"}, [[f"{OWN}:1", f"{OWN}:2"]]),
        (plan("local"), {"dc1": "wi"}, [[f"{OWN}:1"]]),
        (plan("local"), {"dc1": "iiw"}, [[f"{OWN}:3"]]),
        (plan("local"), {"dc1": "w0"}, [[f"{OWN}:1"]]),
        (plan("local"), {"dc1": "ii"}, [[f"{OWN}:1", f"{OWN}:2"]]),
        (plan("local"), {"dc1": "i"}, [[f"{OWN}:1"]]),
        (plan("local"), {}, [[]]),
        (plan("local"), {"dc1": "w", "dc2": "wi"}, [[f"{OWN}:1"]]),
        (plan("remote"), {"dc1": "iw", "dc2": "wi"}, [[f"{THERE}:1"]]),
        (plan("remote"), {"dc2": "ii"}, [[f"{THERE}:1", f"{THERE}:2"]]),
        (plan("local", "require"), {"dc1": "wi", "dc2": "w"}, [[f"{OWN}:1"]]),
        (plan("local", "ignore"), {"dc1": "wi"}, [[f"{OWN}:1", f"{OWN}:2"]]),
        (plan("local"), {"dc1": "wI"}, [[f"{OWN}:1"]]),
        (plan("local"), {"dc1": "iW"}, [[f"{OWN}:1"]]),
        (plan("local", tiers=True), {"dc1": "iw"}, [[f"{OWN}:2"], DIRECT]),
        (plan("local", tiers=True), {"dc1": "ii"}, [[f"{OWN}:1", f"{OWN}:2"], DIRECT]),
        (plan("local", "require", tiers=True), {"dc1": "iw", "dc2": "w"}, [[f"{OWN}:2"], DIRECT]),
        (plan("local", "require", tiers=True), {"dc1": "ii", "dc2": "w"}, [DIRECT, [f"{OWN}:1", f"{OWN}:2"]]),
        (plan("local", "require", tiers=True), {"dc1": "w", "dc2": "ii"}, [DIRECT, [f"{OWN}:1"]]),
        # A path that is cut counts as an ill gateway, from elsewhere.
        (plan("remote"), {"dc2": "cw"}, [[f"{THERE}:2"]]),
        (plan("remote"), {"dc2": "ciw"}, [[f"{THERE}:3"]]),
        (plan("remote"), {"dc2": "ci"}, [[f"{THERE}:1", f"{THERE}:2"]]),
        (plan("remote"), {"dc2": "cc"}, [[f"{THERE}:1", f"{THERE}:2"]]),
        (plan("remote", "ignore"), {"dc2": "cw"}, [[f"{THERE}:1", f"{THERE}:2"]]),
        (plan("local"), {"dc1": "cw"}, [[f"{OWN}:1", f"{OWN}:2"]]),
        (REMOTE, {"dc2": "cw"}, [[f"{THERE}:2"]]),
        # What a gateway forwards to: Envoy would panic with more than half of them ill.
        (REMOTE, {"dc2": "iiw"}, [[f"{THERE}:3"]]),
        (REMOTE, {"dc2": "iii"}, [[f"{THERE}:1", f"{THERE}:2", f"{THERE}:3"]]),
    ],
)
def test_ill_gateways_are_left_out_while_another_one_is_well(
    of: Plan, gateways: dict[str, str], gets: list[list[str]]
) -> None:
    content = compute(of, mesh(**gateways), TRUST_DOMAIN)

    assert content.check()
    assert delivered(content) == gets
    assert read_snapshot(snapshot_json(snapshot(content))).content == content
    if isinstance(of, SidecarPlan):
        # What is stored is Consul's form whatever the policy, but for the order of what is required.
        as_in_consul = compute(replace(of, policy=Policy(gateways="ignore")), mesh(**gateways), TRUST_DOMAIN)
        assert as_in_consul.avoided == ()
        assert of.policy.gateways == "require" or (content.assignment, content.cluster, content.active) == (
            as_in_consul.assignment,
            as_in_consul.cluster,
            as_in_consul.active,
        )


@pytest.mark.parametrize(
    ("mode", "gateways", "serves", "why"),
    [
        ("local", {"dc1": "w", "dc2": "iw", "dc3": "w"}, "dc2", LOCAL),
        ("local", {"dc1": "w", "dc2": "ii", "dc3": "w"}, "dc3", ""),
        ("local", {"dc1": "w", "dc3": "w"}, "dc3", ""),
        (
            "local",
            {"dc1": "i", "dc2": "w", "dc3": "w"},
            "dc2",
            f"{LOCAL}, but no way through well gateways leads to it",
        ),
        (
            "local",
            {"dc1": "w", "dc2": "i", "dc3": "i"},
            "dc2",
            f"{LOCAL}, but no way through well gateways leads to it",
        ),
        ("remote", {"dc1": "i", "dc2": "w", "dc3": "w"}, "dc2", "dc2: 1 of 1 healthy, through the gateways of dc2"),
        ("remote", {"dc1": "w", "dc2": "i", "dc3": "w"}, "dc3", ""),
        ("remote", {"dc2": "c", "dc3": "w"}, "dc3", ""),
        ("remote", {"dc2": "ci", "dc3": "w"}, "dc3", ""),
        ("remote", {"dc2": "cw", "dc3": "w"}, "dc2", "dc2: 1 of 1 healthy, through the gateways of dc2"),
        ("local", {"dc1": "w", "dc2": "c", "dc3": "w"}, "dc3", ""),
        ("local", {"dc1": "w", "dc2": "c", "dc3": "c"}, "dc2", NO_WAY),
        ("none", {}, "dc2", "dc2: 1 of 1 healthy; Envoy itself chooses among these tiers"),
    ],
)
def test_a_target_behind_no_well_gateway_is_passed_over_where_one_is_required(
    mode: Mode, gateways: dict[str, str], serves: str, why: str
) -> None:
    way = "the local gateways" if mode == "local" else "the gateways of dc3"
    passed_over = (
        "dc2: 1 of 1 healthy, but no way through well gateways leads to it; "
        f"dc3: first with a healthy instance that can be reached, through {way}"
    )
    required, avoided = (compute(plan(mode, each), mesh(**gateways), TRUST_DOMAIN) for each in ("require", "avoid"))

    assert (required.active, required.sentence) == (f"s2.default.{serves}", why or passed_over)
    assert avoided.active == "s2.default.dc2"


def test_a_way_is_read_as_far_as_the_policy_asks_and_no_further() -> None:
    def read(mode: Mode, gateways: Gateways) -> list[str]:
        return [each for each in plan(mode, gateways).inputs() if "gateway" in each]

    cut = "dc1/service/default/gateway-paths"
    assert read("local", "require") == ["dc1/gateways", cut, "dc2/gateways", "dc3/gateways"]
    assert read("remote", "require") == read("remote", "avoid") == [cut, "dc2/gateways", "dc3/gateways"]
    assert read("remote", "ignore") == ["dc2/gateways", "dc3/gateways"]
    assert read("local", "avoid") == ["dc1/gateways"]
    assert REMOTE.inputs() == ("dc2/gateways", cut)
    assert ("dc1" in plan("remote").silences(), "dc1" in plan("local").silences()) == (True, False)


def test_what_must_not_be_left_out_is_no_content() -> None:
    content = compute(plan("local"), mesh(dc1="wi"), TRUST_DOMAIN)
    assert content.avoided == ((0, OWN, 2),)

    for wrong in (((0, OWN, 3),), ((1, OWN, 2),), ((-1, OWN, 2),), ((0, OWN, 1), (0, OWN, 2))):
        with pytest.raises(InconsistentContent, match="avoid"):
            replace(content, avoided=wrong).check()


def test_an_ill_gateway_is_another_version_and_a_check_that_says_the_same_is_none() -> None:
    well, ill, other = (compute(plan("local"), mesh(dc1=each), TRUST_DOMAIN) for each in ("ww", "wi", "iw"))

    assert well.assignment == ill.assignment == other.assignment
    assert not well.same_version(ill)
    assert not ill.same_version(other)
    assert ill.same_version(compute(plan("local"), mesh(dc1="w0"), TRUST_DOMAIN))
