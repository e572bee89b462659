"""`doctor` finds Envoys that lack something, clocks that differ and certificates that end soon."""

from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.checks import (
    ENDS_WITHIN_SECONDS,
    MOST_CLOCK_SECONDS,
    MOST_NAMED,
    certificate,
    clock,
    envoys,
    probed,
    traffic,
)
from pointsman.cli.denied import denied
from pointsman.cli.main import run
from pointsman.model.seen import Lack, Seen, SeenEnvoy, SeenProxy, Why
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.seen import write_seen
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.ca import CertificateAuthority
from tests.pipeline.meshes import engine_on, intentions, resolver, sidecar

MOMENT, THEN = "2026-01-01T12:00:00.000Z", 1767268800.0


def test_doctor_names_who_lacks_what_and_a_certificate_that_is_no_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "pointsman.db")
    store = SQLiteStore(where, create=True)
    configure(engine_on(store), parse_documents([resolver("s2"), sidecar("s1", "s2")]))
    lack = Lack(Why.REJECTED, "listeners", "s2", "no such filter\x1b[2J", MOMENT)
    ill = [SeenEnvoy(f"s8-{number}", "ads", MOMENT, (lack,)) for number in range(MOST_NAMED + 2)]
    proxy = SeenProxy("dc1/sidecar/default/s8", "", "", "", (), tuple(ill))
    write_seen(store, "one", Seen("host-7", MOMENT, (proxy,)), "n", None)
    store.close()
    assert run(["doctor", "--store", where]) == 1
    said = capsys.readouterr().out
    assert f"envoy: {where}: dc1/sidecar/default/s8: s8-0 is rejecting" in said
    assert "says host-7: no such filter [2J\n    correct the config" in said
    assert f"envoy: {where}: 2 more Envoys lack something" in said
    short = CertificateAuthority(tmp_path / "ca", "example.internal").issue("s1", "dc1").certificate
    for path, found in (
        (short, f"certificate: {short}: it ends in "),
        (tmp_path / "nosuch", "has no certificate (PEM), or cannot be read"),
    ):
        assert run(["doctor", "--store", where, "--cert-file", str(path)]) == 1
        told = capsys.readouterr()
        assert found in told.out + told.err


def row(service: str, **more: Any) -> dict[str, Any]:
    well = {
        "namespace": "default",
        "service": service,
        "datacenter": "dc1",
        "served": True,
        "trouble": "",
        "why": "well",
    }
    return {**well, "published": MOMENT, "targets": [], **more}


def test_what_an_operator_would_look_at_is_looked_at() -> None:
    def said(*rows: dict[str, Any]) -> list[str]:
        found = traffic("up", {"resolvers": list(rows)}, THEN)
        return [f"{each.what}: {each.where}: {each.says}" for each in found]

    assert said(row("s2")) == []
    assert said(row("s2", served=False, why="0 of 1 healthy")) == [
        "traffic: up: default/s2 for callers in dc1: nobody serves: 0 of 1 healthy"
    ]
    assert said(row("s2", trouble="behind")) == ["published: up: default/s2 for callers in dc1: behind"]
    assert said(row("s2", published="2026-01-01T12:05:00.000Z")) == [
        "clock: up: default/s2 for callers in dc1: it was published 5m from now"
    ]
    ways = [{"datacenter": "dc1", "usable": 1, "known": 1}, {"datacenter": "dc2", "usable": 0, "known": 2}]
    target = {"id": "s2.default.dc2", "gateways": ways}
    assert said(row("s2", targets=[target]), row("s3", targets=[target])) == [
        "gateways: up: mesh gateways of dc2: s2.default.dc2 is reached through none of 2"
    ]
    many = said(*(row(f"s{number}", served=False) for number in range(MOST_NAMED + 3)))
    assert (len(many), many[-1]) == (MOST_NAMED + 1, "traffic: up: 3 more findings on what is published")
    assert list(probed("s3://mesh", True)) == []
    assert [each.what for each in probed("s3://mesh", False)] == ["probe"]


def test_what_is_a_finding_and_what_is_not() -> None:
    assert list(clock("up", {"now": MOMENT}, THEN + MOST_CLOCK_SECONDS)) == []
    (found,) = clock("up", {"now": MOMENT}, THEN + MOST_CLOCK_SECONDS + 1)
    assert found.says == "its clock is 31s behind the one of this machine"
    end = Path("cert.pem")
    assert list(certificate(end, THEN + ENDS_WITHIN_SECONDS, THEN)) == []
    assert [each.says for each in certificate(end, THEN + ENDS_WITHIN_SECONDS - 1, THEN)] == ["it ends in 14 days"]
    assert [each.says for each in certificate(end, THEN - 60, THEN)] == ["it ended 1m ago"]
    current = {"state": "current"}
    assert list(envoys("up", {"envoys": [current]})) == []


def test_upstreams_that_intentions_deny_are_noted() -> None:
    documents = [
        resolver("far", Redirect={"Service": "stock"}),
        sidecar("web", "stock", "cart", "far"),
        sidecar("shop", "stock"),
        intentions("stock", ("shop", "allow"), ("*", "deny")),
        intentions("*", ("web", "deny"), namespace="default"),
    ]

    found = [(each.where, each.says) for each in denied("here", documents)]

    assert found == [
        ('here: "web" calls "cart"', 'service-intentions "*" denies it'),
        ('here: "web" calls "stock"', 'service-intentions "stock" denies it'),
    ]
    assert list(denied("here", documents[:3])) == []
    many = [sidecar(f"s{number}", "stock") for number in range(MOST_NAMED + 2)]
    last = [*denied("here", [*many, *documents[3:]])][-1]
    assert (last.severity, last.says) == ("note", "2 more calls are denied")
