"""What does not fit together in what Pointsman is told, and what to do about it."""

from collections.abc import Iterable, Mapping
from typing import Any

from pointsman.model.findings import Finding, Severity, Told, findings
from pointsman.model.instance import Instance, read_instance
from pointsman.model.registration import parse_registration
from pointsman.model.trouble import Trouble, What

from tests.pipeline.meshes import gateway, gateway_instance, instance, sidecar

WEB = "dc1/service/default/web"


def found(
    registrations: Iterable[Mapping[str, Any]], health: Mapping[str, Iterable[Instance]], *called: str, **more: Any
) -> list[Finding]:
    read = [parse_registration(each) for each in registrations]
    told = Told({each.key: each for each in read}, {key: [*some] for key, some in health.items()}, called, **more)
    return findings(told)


def web(number: int = 1) -> Instance:
    return read_instance(instance("web", number), "web", "agent/h1")


def registered(**service: Any) -> dict[str, Any]:
    """The registration of web's sidecar."""
    raw = dict(sidecar("web"))
    return raw | {"Service": {**raw["Service"], **service}}


def test_where_everything_fits_nothing_is_found() -> None:
    fits = registered(ID="web-1", Address="10.1.0.1", Port=2000)
    assert found([fits, gateway("dc1")], {WEB: [web()], "dc1/gateways": [gateway_()]}, WEB) == []
    assert found([registered()], {WEB: [web()]}, WEB) == [], "a registration may stand for all instances of a service"
    assert found([registered(ID="web-1", Address="0.0.0.0")], {WEB: [web()]}, WEB) == [], "it listens on all addresses"
    assert found([sidecar("client", "web")], {}, WEB) == [], "nobody calls the client"
    raw = gateway_instance()
    raw["Service"] |= {"Address": "gateways.example", "Port": 443}
    balanced = read_instance(raw, "", "agent/h1")
    assert found([gateway("dc1")], {"dc1/gateways": [balanced]}, WEB) == [], "a load balancer stands before it"


def gateway_() -> Instance:
    return read_instance(gateway_instance(), "", "agent/h1")


def test_an_instance_that_is_registered_elsewhere_is_a_warning() -> None:
    for change, place in (({"Address": "10.1.0.9"}, "10.1.0.9:2000"), ({"Port": 2001}, "10.1.0.1:2001")):
        (only,) = found([registered(ID="web-1", **change)], {WEB: [web(), web(2)]}, WEB)
        assert (only.what, only.severity, only.where) == ("elsewhere", Severity.WARNING, "dc1/sidecar/default/web")
        assert only.says == (
            f'"web-1" is registered at {place}, and "agent/h1" tells of its health at 10.1.0.1:2000, where Envoys '
            "connect"
        )


def test_of_a_registration_without_health_whoever_calls_it_is_told_and_of_health_without_one() -> None:
    (unheard,) = found([registered()], {}, WEB)
    assert (unheard.what, unheard.severity) == ("unheard", Severity.NOTE)
    assert unheard.says.startswith('"web" is registered in dc1, and nobody tells of its health')
    (unheard,) = found([gateway("dc1"), gateway("dc1", "gw-2")], {}, "dc1/gateways")
    assert unheard.says.startswith("a mesh gateway is registered in dc1")
    (unregistered,) = found([sidecar("client", "web")], {WEB: [web()]}, WEB)
    assert (unregistered.what, unregistered.where) == ("unregistered", WEB)
    assert 'the sidecars of "web" in dc1 are told of by agent/h1 and not registered' in unregistered.says
    assert found([sidecar("client", "web", dc="dc2")], {WEB: [web()]}, WEB) == [], "dc1 has no registrations at all"
    raw = instance("web")
    native = raw | {"Service": {**raw["Service"], "Kind": "", "Service": "web", "Connect": {"Native": True}}}
    assert found([sidecar("client", "web")], {WEB: [read_instance(native, "web")]}, WEB) == [], "it has no Envoy"


def test_trouble_with_sources_is_among_the_findings_and_warnings_come_first() -> None:
    troubles = [Trouble("a", "dc1", what, "words", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z") for what in What]
    silent = [("dc2", "agent/h2", "2026-01-01T00:00:00Z")]
    cut = [("dc1", "2001:db8::1", 443)]
    all_of_them = found([registered()], {}, WEB, silent=silent, troubles=troubles, cut=cut)
    assert [each.what for each in all_of_them] == ["cut", "doubted", "shared", "silent", "stale", "unheard"]
    assert [each.severity for each in all_of_them] == [Severity.WARNING] * 4 + [Severity.NOTE] * 2
    assert all_of_them[0].says == "nobody in dc1 reaches the mesh gateway at [2001:db8::1]:443"
    assert all_of_them[3].do.endswith("pointsman source forget agent/h2 --dc dc2")
    assert all(each.do and each.json()["do"] == each.do for each in all_of_them)
