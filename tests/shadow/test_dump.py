"""What is no dump is refused with what it is; what is hostile, soon and in little memory; what is odd is told of."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pointsman.cli.main import run
from pointsman.model.errors import InvalidInput
from pointsman.shadow.backend import MOST_MEMBERS, MOST_NESTED, Backend, read_backend
from pointsman.shadow.compare import compare
from pointsman.shadow.dump import LARGEST_DUMP_BYTES, MOST_DUMP_VALUES, dump_of, read_dump

from tests.adapter.published import TRUST_DOMAIN
from tests.shadow.consul_envoy import TYPES, dump, sni
from tests.share import share_of

JSON = dict[str, Any]


def part(answer: JSON, kind: str) -> JSON:
    found: JSON = next(each for each in answer["configs"] if each["@type"].endswith(f".{kind}ConfigDump"))
    return found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not JSON"),
        (b"cluster::1.2.3.4:80::healthy\n", "is not JSON"),
        (b"[]", "it is a list"),
        (b'{"static_resources": {}}', "it is a bootstrap"),
        (b'{"versionInfo": "1", "resources": []}', "it is a response of a control plane"),
        (b'{"cluster_statuses": []}', "it is what another page of the admin answers"),
        (b'{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}]}', "only a part"),
        (b'{"configs": [{"@type": "type.googleapis.com/envoy.admin.v2alpha.ClustersConfigDump"}]}', "old API v2"),
        (b'{"configs": 1}', "it has no list of configs"),
        (b"[" * 1000, "nested too deeply"),
        (b"1," * MOST_DUMP_VALUES, "has too many values"),
        (b" " * (LARGEST_DUMP_BYTES + 1), "is longer than"),
    ],
    ids=lambda each: each if isinstance(each, str) else None,
)
def test_what_is_no_dump_is_refused_with_what_it_is(content: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        read_dump(content, "web.json")
    assert reason in str(raised.value)
    assert str(raised.value).startswith("web.json: ")


JUNK = [None, 0, -1, 1e308, 2**63, "", "é", True, [], {}, [None], [[]], {"a": 1}, {"@type": "of/nothing"}, {"@type": 7}]


WHOLE = dump_of(dump(), "web.json", TRUST_DOMAIN).held


@given(st.data())
@settings(max_examples=share_of(30), deadline=None)
def test_whatever_stands_anywhere_in_it_it_is_compared_or_refused(data: st.DataObject) -> None:
    answer = dump()
    for _ in range(data.draw(st.integers(1, 3))):
        here: Any = answer["configs"]
        while isinstance(here, dict | list) and here:
            name = data.draw(st.sampled_from([*here] if isinstance(here, dict) else range(len(here))))
            if not isinstance(here[name], dict | list) or data.draw(st.integers(0, 7)) == 0:
                here[name] = copy.deepcopy(data.draw(st.sampled_from(JUNK)))  # what comes next may change it
                break
            here = here[name]
    try:
        held = dump_of(answer, "web.json", TRUST_DOMAIN).held
    except InvalidInput:
        return
    compare(held, WHOLE)
    compare(WHOLE, held)


def test_a_dump_without_endpoints_says_how_to_save_them() -> None:
    answer = dump()
    answer["configs"].remove(part(answer, "Endpoints"))
    with pytest.raises(InvalidInput, match=r"no endpoints, and 5 clusters that fetch theirs; .*include_eds"):
        dump_of(answer, "web.json")


def test_everything_that_is_broken_is_named_at_once() -> None:
    answer = dump()
    clusters = part(answer, "Clusters")["dynamic_active_clusters"]
    clusters[0]["cluster"]["connect_timeout"] = "soon"
    clusters[1]["cluster"]["@type"] = f"{TYPES}.api.v2.Cluster"
    clusters[2]["cluster"] = 7
    with pytest.raises(InvalidInput) as raised:
        dump_of(answer, "web.json")
    assert [str(each).partition(":")[0] for each in raised.value.problems] == ["web.json"] * 3
    assert "Cluster local_app" in str(raised.value)
    assert "envoy.api.v2.Cluster" in str(raised.value)


def test_the_state_of_what_is_in_it_is_told() -> None:
    answer = dump()
    clusters, listeners = part(answer, "Clusters"), part(answer, "Listeners")["dynamic_listeners"]
    clusters["dynamic_warming_clusters"] = [clusters["dynamic_active_clusters"].pop()]
    listeners[0]["draining_state"] = listeners[0]["active_state"]
    listeners[1]["warming_state"] = listeners[1].pop("active_state")
    listeners[2]["error_state"] = {"details": "no such filter"}
    clusters["dynamic_active_clusters"][0]["cluster"]["of_a_later_envoy"] = 1
    read = dump_of(answer, "web.json", TRUST_DOMAIN)
    told = "\n".join(read.remarks)
    for words in (
        f"cluster {sni('cache.default.dc1')} was warming: it is compared as it will be",
        "listener api:127.0.0.1:9191 was draining",
        "listener db:127.0.0.1:9192 was warming",
        "listener cache:127.0.0.1:9193: this Envoy rejected a newer version: no such filter",
        "has fields that are not compared, because this Pointsman does not know them",
    ):
        assert words in told
    assert (read.node, read.service, read.version) == ("web-sidecar-proxy", "web", (1, 33, 2))
    assert len(read.held.listeners) == 4


def test_an_aggregate_cluster_has_a_bounded_number_of_members_and_no_circle() -> None:
    answer = dump()
    clusters = part(answer, "Clusters")["dynamic_active_clusters"]
    aggregate = next(each["cluster"] for each in clusters if "cluster_type" in each["cluster"])

    def behind(*names: str) -> Backend:
        aggregate["cluster_type"]["typed_config"]["clusters"] = names
        backend = read_backend(dump_of(answer, "web.json").held, aggregate["name"])
        assert backend is not None
        return backend

    member = clusters[-1]["cluster"]["name"]
    assert len(behind(*[member] * MOST_MEMBERS).members) == MOST_MEMBERS
    assert behind(member).problems == ()
    more = behind(*[member] * (MOST_MEMBERS + 1))
    assert (len(more.members), len(more.problems)) == (MOST_MEMBERS, 1)
    circle = behind("gone", aggregate["name"], member)
    assert (len(circle.members), len(circle.problems)) == (1, 2)
    for number in range(MOST_NESTED):
        outer = copy.deepcopy(aggregate)
        outer["name"] = f"level-{number}"
        outer["cluster_type"]["typed_config"]["clusters"] = [
            f"level-{number + 1}" if number < MOST_NESTED - 1 else member
        ]
        clusters.append({"cluster": outer})
    assert behind("level-1").members
    assert behind("level-0").members == ()


def test_nobody_reads_anything_but_its_own_admin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["shadow", "web", "--dc", "dc1", "--store", str(tmp_path / "none.db")]
    assert run([*base]) == 2
    assert "give --admin IP:PORT or --dump FILE" in capsys.readouterr().err
    assert run([*base, "--admin", "10.0.0.1:19000"]) == 1
    assert "is not on this machine" in capsys.readouterr().err


@pytest.mark.soak
def test_the_largest_dump_takes_a_bounded_time_and_memory(tmp_path: Path) -> None:
    """Half of the values that are taken, in a process that may have two gigabytes."""
    answer = dump()
    entries = part(answer, "Endpoints")["dynamic_endpoint_configs"]
    group = entries[0]["endpoint_config"]["endpoints"][0]["lb_endpoints"]
    group += group * 30_000
    file = tmp_path / "large.json"
    file.write_text(json.dumps(answer))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "from pointsman.shadow.dump import read_dump\n"
        "print(len(read_dump(open(sys.argv[1], 'rb').read(), 'large').held.assignments))\n"
    )
    command = [sys.executable, "-c", script, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "7"), done.stderr
