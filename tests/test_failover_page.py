"""docs/failover.md tells situations as a real Consul answered them."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pointsman.chain.entryset import EntrySet
from pointsman.chain.plan import SidecarPlan, sidecar_plans
from pointsman.chain.upstream import upstream_chain
from pointsman.cli.main import run
from pointsman.failover.rank import PLACES
from pointsman.failover.selection import Selection, select
from pointsman.failover.sentence import sentence
from pointsman.model.entries import parse_entry
from pointsman.model.failover_policy import FailoverPolicy
from pointsman.model.registration import parse_registration
from pointsman.xds.rendered import instances_of

from tests.conformance.test_conformance import GATEWAYS, SIDECARS
from tests.failover.notation import known, plan_of

JSON = dict[str, Any]
DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "failover.md").read_text(encoding="utf-8")
CASES = {case["name"]: case for case in SIDECARS}


class Row(NamedTuple):
    """A row of the page: the recorded case, the cluster (`*`: customized), and its targets as the page has them."""

    case: str
    cluster: str
    targets: str


ROWS = [Row(*found) for found in re.findall(r"^\| .* \| `([a-z]+-\d+)` `(\S+)` \| (.*) \|$", PAGE, re.MULTILINE)]


RANKED = re.findall(r"^\| .+ \|(.*)\| (\d/\d.*) \| (\d/\d.*) \| (\d/\d.*) \| (dc1: .*) \|$", PAGE, re.MULTILINE)
"""Rows of what ranks first: the policy, what is known in each datacenter, and the sentence."""


def plans_of(case: JSON) -> dict[str, tuple[SidecarPlan, Selection]]:
    """Every plan of a recorded case with what it selects, by the name that the page has for its cluster."""
    entries = EntrySet.of(parse_entry(write["entry"]) for write in case["writes"] if write["accepted"])
    proxy = {name: value for name, value in case["proxy"].items() if name not in ("service", "id")}
    sidecar = parse_registration(
        {"Datacenter": case["datacenter"], "Service": {"Kind": "connect-proxy", "Proxy": proxy}}
    )
    chains = [upstream_chain(entries, sidecar, upstream) for upstream in sidecar.service.proxy.upstreams]
    plans = [plan for chain in chains for plan in sidecar_plans(chain)]
    instances = instances_of(case["registrations"])
    return {starred(plan.cluster_id): (plan, select(plan, instances)) for plan in plans}


def starred(cluster: str) -> str:
    """The value of a customization hash is Pointsman's own choice; that it exists is not."""
    return re.sub(r"^[0-9a-f]{8}:", "*", cluster)


def told(selection: Selection) -> str:
    """The targets of a selection as the page has them."""
    cells = [
        f"`{each.target.target.id}` {each.healthy}/{len(each.instances)} "
        f"{each.target.mode if each.target.mode in ('local', 'remote') else 'direct'}"
        for each in selection.measured
    ]
    return ", ".join(f"**{cell}**" if i == selection.active else cell for i, cell in enumerate(cells))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.case} {row.cluster}")
def test_a_recorded_case_goes_where_the_page_says(row: Row) -> None:
    case = CASES[row.case]
    plan, selection = plans_of(case)[row.cluster]
    named = {starred(name).partition(".internal.")[0]: name for name in case["cds"]}[row.cluster]
    groups = case["eds"][named]["groups"]

    assert told(selection) == row.targets
    serving = plan.targets[selection.active if plan.measured else 0].target.id
    assert case["cds"][named]["sni"].startswith(f"{serving}.internal.")
    assert len(groups) == (1 if plan.measured else len(plan.targets))
    if not plan.measured and len(groups) > 1:
        healthy = [any(each["health"] == "HEALTHY" for each in group["endpoints"]) for group in groups]
        assert healthy.index(True) == selection.active


@pytest.mark.parametrize(("policy", "dc1", "dc2", "dc3", "says"), RANKED)
def test_what_ranks_first_is_what_the_page_says(policy: str, dc1: str, dc2: str, dc3: str, says: str) -> None:
    fields = yaml.safe_load(policy.strip(" `")) or {}
    entry = parse_entry({"Kind": "failover-policy", "Name": "web", **fields})
    assert isinstance(entry, FailoverPolicy)
    plan = plan_of(3, entry.policy)

    assert sentence(plan, select(plan, *known(dc1, dc2, dc3))) == says


def test_the_page_has_every_place_of_the_rank() -> None:
    section = PAGE.partition("## Which target ranks first")[2]
    assert len(RANKED) > 10
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(PLACES)


def test_the_page_says_who_chooses() -> None:
    chosen = {heading: section for heading, _, section in (part.partition("\n") for part in PAGE.split("\n### "))}
    by = {
        heading: [plans_of(CASES[row.case])[row.cluster][0] for row in ROWS if row.targets in section]
        for heading, section in chosen.items()
    }

    assert len(ROWS) > 20
    assert all(len(plan.targets) == 1 for plan in by["Without failover"])
    assert all(plan.measured for plan in by["Pointsman chooses"])
    assert all(not plan.measured and len(plan.targets) > 1 for plan in by["Envoy chooses"])


def test_the_pages_tell_how_many_situations_were_recorded() -> None:
    assert f"{len(SIDECARS) + len(GATEWAYS)} situations" in (DOCS / "guarantees.md").read_text().replace("\n", " ")


def test_the_commands_of_the_page_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "web.yaml").write_text(
        "{Kind: service-resolver, Name: web, Failover: {'*': {Datacenters: [dc1, dc2]}}}"
    )
    assert run(["apply", "--store", "pointsman.db", "web.yaml"]) == 0
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)

    for line in block.splitlines():
        program, *words = line.partition("#")[0].split()
        assert (program, run(words)) == ("pointsman", 0), capsys.readouterr().err
