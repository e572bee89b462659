"""A failover policy from the file to what is shown, and gateways that are left out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run

from tests.cli.test_cli import RESOLVER, SIDECAR, event, store, write

__all__ = ["store", "write"]

POLICY = """
Kind = "failover-policy"
Name = "s2"
HealthyThreshold = "50%"
Gateways = "require"
"""


def gateways(datacenter: str, *statuses: str) -> dict[str, Any]:
    def gateway(number: int, status: str) -> dict[str, Any]:
        service = {"ID": f"g{number}", "Kind": "mesh-gateway", "Address": f"10.0.0.{number}", "Port": 8443}
        return {"Node": {"Node": f"n{number}"}, "Service": service, "Checks": [{"Status": status}]}

    listed = [gateway(number, status) for number, status in enumerate(statuses, 1)]
    detail = {"Source": "test", "Index": 1, "Datacenter": datacenter, "Kind": "mesh-gateway", "Instances": listed}
    return {"detail-type": "Service Health Changed", "detail": detail}


def test_a_policy_is_shown_with_what_it_does_and_ill_gateways_are_named(
    store: Path,
    write: Callable[[str, Any], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*words: str) -> str:
        assert run(list(words)) == 0
        return capsys.readouterr().out

    said("apply", write("s2.hcl", RESOLVER), write("s1.json", SIDECAR), write("policy.hcl", POLICY))
    told = [event("dc1", "critical", 1), event("dc2", "passing", 1), event("dc3", "passing", 1)]
    told += [gateways("dc1", "passing", "critical"), gateways("dc2", "critical"), gateways("dc3", "passing")]
    for number, each in enumerate(told):
        said("emit", "--store", str(store), write(f"event{number}.json", each))

    explained = said("explain", "s2", "--dc", "dc1", "--from", "s1")
    assert 'failover policy "s2": 50% healthy, gateways require' in explained
    assert "s2.default.dc2  1 of 1 healthy, no way " in explained
    assert "through 2 local gateways in dc1, 1 of them ill (upstream override)" in explained
    assert "dc2: 1 of 1 healthy, but no way through well gateways leads to it; dc3: first" in explained
    assert "1 ill gateway left out: 10.0.0.2:8443" in said("status")
    (resolver,) = json.loads(said("status", "--json"))["resolvers"]
    assert (resolver["active"], resolver["avoided"]) == ("s2.default.dc3", ["10.0.0.2:8443"])

    assert json.loads(said("get", "failover-policy", "s2"))["HealthyThreshold"] == "50%"
    said("delete", "failover-policy", "s2")
    assert json.loads(said("status", "--json"))["resolvers"][0]["active"] == "s2.default.dc2"
    said("rollback", "1")
    assert "failover-policy\tdefault/s2\n" in said("list")
    assert json.loads(said("status", "--json"))["resolvers"][0]["active"] == "s2.default.dc3"
