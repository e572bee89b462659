"""What people and programs are told, and the exit codes."""

import copy
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pointsman.cli import shadow
from pointsman.cli.main import run
from pointsman.cli.shadow import DIFFERS, LONGEST_SIDE, MOST_DIFFERENCES, SCHEMA
from pointsman.shadow.endpoints import MOST_PLACES
from pointsman.store.open import open_store

from tests.adapter.published import TRUST_DOMAIN
from tests.shadow.consul_envoy import configure
from tests.shadow.test_mutations import STORED, V2, Dumped, place

Said = tuple[int, str, str]
Run = Callable[..., Said]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("shadow") / "store.db")
    made = open_store(path, create=True)
    configure(made)
    made.close()
    return path


@pytest.fixture
def said(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_on(*dumps: Dumped, words: tuple[str, ...] = ()) -> Said:
        options = []
        for number, each in enumerate(dumps):
            file = tmp_path / f"{number}.json"
            file.write_text(json.dumps(each.all))
            options += ["--dump", str(file)]
        code = run(["shadow", "web", "--dc", "dc1", "--store", store, *options, *words])
        out = capsys.readouterr()
        return code, out.out, out.err

    return run_on


def test_what_is_the_same_ends_with_0_and_says_what_was_compared(said: Run) -> None:
    code, out, err = said(Dumped())
    assert (code, err) == (0, "")
    assert "the same for traffic: 4 listeners and 5 clusters compared\n" in out
    assert "Pointsman's own, in 5 places: circuit breakers, common lb config, outlier detection, upstream" in out
    assert "not compared: listener envoy_ready_listener:127.0.0.1:21000" in out


def test_the_worst_comes_first_and_several_envoys_are_compared(said: Run) -> None:
    other = Dumped()
    other.routes[0]["route"]["timeout"] = "9s"
    other.tls(STORED)["sni"] = "cache.default.dc2.internal.mesh.example"
    place(other, V2, 0)["address"] = "10.9.9.9"
    code, out, _ = said(Dumped(), other)
    assert code == DIFFERS
    assert out.count("the same for traffic") == 1
    lines = out[out.index("would change") :].splitlines()
    assert lines[:10] == [
        "would change: endpoints in 1 place, server name in 1 place, timeout in 1 place",
        "endpoints: api (127.0.0.1:9191), to v2.api.default.dc1.internal.mesh.example: traffic goes now to",
        "    today           10.0.0.3:20000, 10.9.9.9:20000",
        "    with Pointsman  10.0.0.2:20000, 10.0.0.3:20000",
        "server name: cache (127.0.0.1:9193), to cache.default.dc1.internal.mesh.example: server name",
        "    today           cache.default.dc2.internal.mesh.example",
        "    with Pointsman  cache.default.dc1.internal.mesh.example",
        "timeout: api (127.0.0.1:9191), path /admin…, header x-debug = 1, header x-user present, parameter q = a:"
        " timeout",
        "    today           9s",
        "    with Pointsman  3s",
    ]


def test_programs_get_all_of_it(said: Run) -> None:
    other = Dumped()
    other.listeners.pop(2)
    code, out, _ = said(Dumped(), other, words=("--json",))
    answer = json.loads(out)
    assert (code, answer["schema"], answer["same"]) == (DIFFERS, SCHEMA, False)
    first, second = answer["envoys"]
    assert (first["same"], first["version"], first["node"]) == (True, "1.33.2", "web-sidecar-proxy")
    assert first["compared"] == {"listeners": 4, "clusters": 5}
    assert second["differences"] == [
        {
            "kind": "upstream",
            "where": "cache (127.0.0.1:9193)",
            "what": "listener",
            "today": "none",
            "pointsman": "listens at 127.0.0.1:9193",
        }
    ]


def test_another_trust_domain_is_one_difference_and_no_more(said: Run) -> None:
    other = Dumped()
    other.all = json.loads(json.dumps(other.all).replace(TRUST_DOMAIN, "1f2e.consul"))
    code, out, _ = said(other, words=("--json",))
    (found,) = json.loads(out)["envoys"][0]["differences"]
    assert (code, found["kind"], found["today"], found["pointsman"]) == (
        DIFFERS,
        "server name",
        "1f2e.consul",
        TRUST_DOMAIN,
    )


def test_who_may_connect_where_it_listens_and_whose_dump_it_is(said: Run) -> None:
    other = Dumped()
    other.listener("cache")["address"]["socket_address"]["address"] = "0.0.0.0"
    other.part("Bootstrap")["bootstrap"]["node"] = {"id": "billing-1", "cluster": "billing"}
    rbac = copy.deepcopy(other.listener("public_listener")["filter_chains"][0]["filters"][0])
    rbac["typed_config"]["rules"] = {}
    other.listener("db")["filter_chains"][0]["filters"].insert(0, rbac)
    code, out, _ = said(other)
    assert code == DIFFERS
    assert "authorization: db (127.0.0.1:9192): any other/any other, default/any other may call\n" in out
    assert "    today           nothing\n    with Pointsman  everything\n" in out
    assert "setting: cache (127.0.0.1:9193): listens at\n    today           0.0.0.0:9193\n" in out
    assert "note: the dump is of the node billing-1, cluster billing: is it the sidecar of default/web in dc1?" in out


def test_what_is_shown_is_bounded_and_on_lines_of_its_own(said: Run) -> None:
    other = Dumped()
    for number in range(MOST_DIFFERENCES + 5):
        path = f"/{number}\u001b[2J\n" + "x" * LONGEST_SIDE
        other.routes.insert(0, {"match": {"path": path}, "route": {"cluster": V2}})
    endpoints = other.endpoints(V2)
    for number in range(MOST_PLACES):
        endpoints.append(copy.deepcopy(endpoints[0]))
        endpoints[-1]["endpoint"]["address"]["socket_address"]["port_value"] = 30000 + number
    code, out, _ = said(other)
    assert code == DIFFERS
    assert "and 6 more; --json shows all\n" in out
    assert "\u001b" not in out
    assert " and 2 more\n" in out
    assert max(map(len, out.splitlines())) < 3 * LONGEST_SIDE


def test_who_is_not_registered_and_what_is_no_name_is_refused(
    said: Run, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["shadow", "billing", "--dc", "dc1", "--store", store, "--dump", "none.json"]) == 1
    assert run(["shadow", "Web", "--dc", "dc1", "--store", store, "--dump", "none.json"]) == 1
    refused = capsys.readouterr().err
    assert "default/billing in dc1 is not registered; registered are: dc1/sidecar/default/web" in refused
    assert '"Web" is not a lower-case DNS label' in refused
    code, _, err = said(words=("--dump", "none.json"))
    assert (code, err) == (1, "pointsman: none.json: No such file or directory\n")


def test_an_admin_that_says_nothing_is_not_waited_for(said: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "ADMIN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        code, _, err = said(words=("--admin", at))
    assert (code, err) == (1, f"pointsman: {at}: no complete answer within 0.2 s\n")
