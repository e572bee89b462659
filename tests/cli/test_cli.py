"""The command line: what a person types, what comes back, and what wrong input gets."""

import gzip
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pointsman.cli.main import group, run
from pointsman.cli.source import MOST_SHOWN
from pointsman.cli.status import MOST_SHOWN as MOST_WARNINGS
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.ca import CertificateAuthority
from tests.fleet.process import Ports

POINTSMAN = Path(sys.executable).parent / "pointsman"
CASES = Path(__file__).parents[1] / "conformance"

RESOLVER = """
Kind = "service-resolver"
Name = "s2"
Failover = {
  "*" = { Datacenters = ["dc2", "dc3"] }
}
"""
SIDECAR = {
    "Datacenter": "dc1",
    "Node": "n1",
    "Address": "127.0.0.1",
    "Service": {
        "Kind": "connect-proxy",
        "Service": "s1-sidecar-proxy",
        "ID": "s1-sidecar-proxy",
        "Port": 20000,
        "Proxy": {
            "DestinationServiceName": "s1",
            "LocalServicePort": 8080,
            "Upstreams": [{"DestinationName": "s2", "LocalBindPort": 5000, "MeshGateway": {"Mode": "local"}}],
        },
    },
}


def event(datacenter: str, status: str, index: int) -> dict[str, Any]:
    service = {
        "ID": "s2-proxy",
        "Service": "s2-sidecar-proxy",
        "Kind": "connect-proxy",
        "Address": "127.0.0.1",
        "Port": 21000,
        "Proxy": {"DestinationServiceName": "s2"},
    }
    return {
        "detail-type": "Service Health Changed",
        "detail": {
            "Source": "test",
            "Index": index,
            "Datacenter": datacenter,
            "Service": "s2",
            "Instances": [{"Node": {"Node": "n"}, "Service": service, "Checks": [{"Status": status}]}],
        },
    }


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pointsman.db"
    monkeypatch.setenv("POINTSMAN_STORE", str(path))
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], str]:
    def to_file(name: str, content: Any) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return to_file


def test_a_failover_from_the_first_entry_to_the_status(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", write("s2.hcl", RESOLVER), write("s1.json", SIDECAR)]) == 0
    assert capsys.readouterr().out.startswith("generation 1: 2 documents")
    assert run(["apply", write("again.hcl", RESOLVER)]) == 0
    assert capsys.readouterr().out == "generation 1: nothing to change\n"

    for datacenter, status in (("dc1", "passing"), ("dc2", "passing"), ("dc1", "critical")):
        index = 1 if status == "passing" else 2
        assert run(["emit", "--store", str(store), write("event.json", event(datacenter, status, index))]) == 0
    capsys.readouterr()
    assert run(["status", "--json"]) == 0
    (resolver,) = json.loads(capsys.readouterr().out)["resolvers"]
    assert (resolver["service"], resolver["datacenter"], resolver["active"]) == ("s2", "dc1", "s2.default.dc2")
    assert resolver["why"].startswith("dc1: 0 of 1 healthy")
    assert [(each["id"], each["healthy"], each["total"]) for each in resolver["targets"]] == [
        ("s2.default.dc1", 0, 1),
        ("s2.default.dc2", 1, 1),
        ("s2.default.dc3", 0, 0),
    ]
    assert run(["status"]) == 0
    assert "* s2.default.dc2  1/1 healthy  through local gateways" in capsys.readouterr().out
    assert run(["reconcile"]) == 0
    assert capsys.readouterr().out.endswith(" checked, 0 moved, 0 manifests written, 0 retired\n")

    assert run(["list"]) == 0
    assert capsys.readouterr().out == "service-resolver\tdefault/s2\nregistration\tdc1/sidecar/default/s1\n"
    assert run(["delete", "service-resolver", "s2"]) == 0
    assert run(["rollback", "1"]) == 0
    capsys.readouterr()
    assert run(["get", "service-resolver", "s2"]) == 0
    assert json.loads(capsys.readouterr().out)["Failover"] == {"*": {"Datacenters": ["dc2", "dc3"]}}


def test_what_list_prints_apply_takes_back(
    store: Path, tmp_path: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", write("s2.hcl", RESOLVER), write("s1.json", SIDECAR | {"Owner": "agent"})]) == 0
    capsys.readouterr()
    assert run(["list"]) == 0
    assert capsys.readouterr().out == "service-resolver\tdefault/s2\nregistration\tdc1/sidecar/default/s1\tagent\n"
    assert run(["list", "--json"]) == 0
    exported = write("all.json", capsys.readouterr().out)
    assert run(["apply", exported]) == 0
    assert capsys.readouterr().out == "generation 1: nothing to change\n"
    assert run(["apply", "--store", str(tmp_path / "other.db"), exported]) == 0
    assert capsys.readouterr().out.startswith("generation 1: 2 documents")


WRONG: dict[str, tuple[list[str], dict[str, Any], int, str]] = {
    "an unknown field": (
        ["apply", "e.json"],
        {"e.json": {"Kind": "service-resolver", "Name": "s2", "Failovr": {}}},
        1,
        'pointsman: service-resolver "s2": Failovr: is not a field here; remove it or check its spelling',
    ),
    "an answer of Consul's that is no config": (
        ["apply", "--dc", "dc1", "e.json", "health.json"],
        {
            "e.json": {"Kind": "service-resolver", "Name": "s2"},
            "health.json": [{"Node": {"Node": "n1", "Datacenter": "dc1"}, "Service": {"ID": "a", "Service": "a"}}],
        },
        1,
        "health.json: has something without a Kind, so it is no config entry, and it is no registration either; "
        "`pointsman import consul` reads what else Consul answers",
    ),
    "a file of something else": (
        ["apply", "e.json", "values.json"],
        {"e.json": {"Kind": "service-resolver", "Name": "s2"}, "values.json": {"global": {"name": "consul"}}},
        1,
        "values.json: has something without a Kind",
    ),
    "a subset that is not there": (
        ["apply", "e.json"],
        {"e.json": {"Kind": "service-resolver", "Name": "s2", "DefaultSubset": "v1"}},
        1,
        'pointsman: service-resolver "s2": DefaultSubset: "v1" is not a subset of "s2"; it has none',
    ),
    "an event of no known shape": (
        ["emit", "--store", "new.db", "e.json"],
        {"e.json": {"hello": "world"}},
        1,
        "pointsman: event: is of no known shape: it has neither a detail-type nor a Source; docs/events.md shows the "
        "shapes",
    ),
    "an event that is not JSON": (
        ["emit", "--store", "new.db", "e.json"],
        {"e.json": "{"},
        1,
        "line 1: is not JSON",
    ),
    "a file that is not there": (["apply", "none.json"], {}, 1, "pointsman: none.json: No such file or directory"),
    "a store that cannot be opened": (["status", "--store", "no/such/dir/p.db"], {}, 1, "no/such/dir"),
    "a store that is no database": (["status", "--store", "e.json"], {"e.json": "not a database" * 100}, 1, "e.json"),
    "nobody at the URL": (
        ["emit", "--url", "http://127.0.0.1:1", "e.json"],
        {"e.json": event("dc1", "passing", 1)},
        1,
        "is `pointsman up` running there?",
    ),
    "no such entry": (["get", "service-resolver", "s9"], {}, 1, 'service-resolver "s9": does not exist'),
    "no such registration": (
        ["bootstrap", "s9", "--dc", "dc1", "--files", "envoys"],
        {},
        1,
        'proxy "s9": is not registered in dc1; registered are: none',
    ),
    "a port out of range": (
        ["up", "--listen", "127.0.0.1:99999"],
        {},
        1,
        '"127.0.0.1:99999" has no port',
    ),
    "a port of many digits": (["up", "--listen", f"127.0.0.1:{'9' * 5000}"], {}, 1, "has no port"),
    "an Envoy version of many digits": (["up", "--envoy-version", f"1.{'9' * 5000}"], {}, 1, "is not a version"),
    "a door open to the network": (["up", "--listen", "0.0.0.0:0"], {}, 1, "is not a loopback address"),
    "an unknown command": (["aply"], {}, 2, "No such command"),
    "an option that is missing": (["bootstrap", "s1"], {}, 2, "--dc"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_clear_line_and_changes_nothing(tmp_path: Path, name: str) -> None:
    arguments, files, code, line = WRONG[name]
    for file, content in files.items():
        (tmp_path / file).write_text(content if isinstance(content, str) else json.dumps(content))
    SQLiteStore(tmp_path / "pointsman.db").close()
    before = sorted(tmp_path.iterdir())
    environment = {"PATH": "", "POINTSMAN_STORE": "pointsman.db"}
    done = subprocess.run(
        [POINTSMAN, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert line in done.stderr
    if code == 1:
        assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give one of --files DIR, --http URL|unix:PATH, --grpc URL|unix:PATH, --function-url URL"),
        (["--files", "envoys", "--function-url", "https://x"], "give one of"),
        (["--function-url", "http://abc.lambda-url.eu-central-1.on.aws"], "is not https://HOST; use the stack's"),
        (["--function-url", "https://abc.lambda-url.eu-central-1.on.aws/v3"], "is not https://HOST"),
        (["--function-url", "https://xds.example"], "xds.example does not contain its region; give --region REGION"),
        (["--function-url", "https://xds.example", "--region", "here"], "region: 'here' is not an AWS region"),
        (["--files", "envoys", "--refresh-delay", "5"], "--refresh-delay is only for --http and --function-url"),
    ],
)
def test_a_way_to_fetch_that_is_none_is_one_clear_line(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    gateway = {"Kind": "mesh-gateway", "ID": "gw", "Service": "mesh-gateway", "Address": "10.0.0.1", "Port": 8443}
    assert run(["apply", write("g.json", {"Datacenter": "dc1", "Service": gateway})]) == 0
    capsys.readouterr()
    assert run(["bootstrap", "gw", "--gateway", "--dc", "dc1", *options]) != 0
    told = capsys.readouterr()
    assert (said in told.err, told.out) == (True, "")


def test_a_service_or_datacenter_that_nothing_names_is_a_typing_error(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", write("s2.hcl", RESOLVER), write("s1.json", SIDECAR)]) == 0
    assert run(["emit", "--store", str(store), write("event.json", event("dc4", "passing", 1))]) == 0
    for known in (["s2", "--dc", "dc1"], ["s1", "--dc", "dc3"], ["s2", "--dc", "dc4"]):
        assert run(["explain", *known]) == 0
    assert run(["status", "--dc", "dc3"]) == 0
    for wrong, said in {
        ("explain", "nosuch", "--dc", "dc1"): 'service "nosuch": no entry, registration or health event names "nosuch"',
        ("explain", "s2", "--dc", "dc9"): 'explain: --dc: no entry, registration or health event names "dc9"',
        ("status", "--dc", "dc9"): 'status: dc: no entry, registration or health event names "dc9"',
    }.items():
        capsys.readouterr()
        assert run([*wrong]) == 1
        out, err = capsys.readouterr()
        assert (said in err, out) == (True, "")
        assert "known are: " + ("s1, s2" if "nosuch" in wrong else "dc1, dc2, dc3, dc4") in err


def test_an_option_that_takes_one_value_is_not_given_twice(capsys: pytest.CaptureFixture[str]) -> None:
    """Of every command and every option: the first of two values is never dropped without a word."""

    def commands(command: click.Command, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                yield from commands(command.get_command(context, name) or pytest.fail(name), [*path, name])
        else:
            yield path, command

    checked = 0
    for path, command in commands(group, []):
        for option in command.params:
            if isinstance(option, click.Option) and not (option.multiple or option.is_flag):
                name = option.opts[0]
                assert (run([*path, name, "1", name, "2"]), name) == (2, name)
                assert f"{option.opts[-1]} is given 2 times" in capsys.readouterr().err
                checked += 1
    assert checked > 80
    assert run(["list", "--json", "--json", "--help"]) == 0


@pytest.fixture
def free_ports() -> Iterator[list[str]]:
    """Options of `bootstrap`: ports that stay free while the test runs."""
    with Ports() as ports:
        admin, public = ports.take("127.0.0.1"), ports.take("127.0.0.1")
        yield ["--admin", f"127.0.0.1:{admin}", "--public", f"127.0.0.1:{public}"]


def test_a_bootstrap_names_only_files_that_are_there(
    store: Path,
    write: Callable[[str, Any], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    free_ports: list[str],
) -> None:
    assert run(["apply", write("s1.json", SIDECAR)]) == 0
    authority = CertificateAuthority(tmp_path / "ca", "pointsman")
    own, others = authority.issue("s1", "dc1"), authority.issue("s2", "dc1")
    good = ["--certificate", str(own.certificate), "--private-key", str(own.private_key), "--ca", str(own.ca)]
    here = ["bootstrap", "s1", "--dc", "dc1", "--grpc", "127.0.0.1:1", *free_ports]

    def told(*options: str, code: int = 1) -> str:
        capsys.readouterr()
        assert run([*here, *options]) == code
        out, err = capsys.readouterr()
        assert bool(out) == (code == 0)
        return err

    nowhere = str(tmp_path / "nowhere" / "file.pem")
    assert told(*good, code=0) == ""
    missing = told("--certificate", nowhere, "--private-key", nowhere, "--ca", nowhere)
    for option in ("--certificate", "--private-key", "--ca"):
        assert f'bootstrap of "s1": {option}: there is no file {nowhere}' in missing
    assert told("--certificate", nowhere, "--private-key", nowhere, "--ca", nowhere, "--elsewhere", code=0) == ""
    mixed = told("--certificate", str(own.certificate), "--private-key", str(others.private_key), "--ca", str(own.ca))
    assert "are not a certificate and its key in PEM" in mixed
    assert "has no certificates in PEM" in told(*good[:-1], write("empty.pem", ""))
    assert f"there is no file {tmp_path}/sds/identity.yaml" in told("--sds", str(tmp_path / "sds"))
    assert run(["secrets", str(tmp_path / "sds"), *good]) == 0
    assert told("--sds", str(tmp_path / "sds"), code=0) == ""
    assert f"--access-log: there is no directory {tmp_path}/nowhere" in told(*good, "--access-log", nowhere)
    function = ["--function-url", "https://abc.lambda-url.eu-central-1.on.aws", "--ca-bundle", nowhere]
    here = ["bootstrap", "s1", "--dc", "dc1", *free_ports]
    assert f"--ca-bundle: there is no file {nowhere}" in told(*good, *function)


def test_a_bootstrap_tells_of_what_has_to_be_there_when_envoy_starts(
    store: Path,
    write: Callable[[str, Any], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    free_ports: list[str],
) -> None:
    assert run(["apply", write("s1.json", SIDECAR)]) == 0
    own = CertificateAuthority(tmp_path / "ca", "pointsman").issue("s1", "dc1")
    certificates = ["--certificate", str(own.certificate), "--private-key", str(own.private_key), "--ca", str(own.ca)]

    def told(*options: str) -> list[str]:
        capsys.readouterr()
        assert run(["bootstrap", "s1", "--dc", "dc1", *certificates, *options]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["node"]["cluster"] == "s1"
        return err.splitlines()

    grpc = ["--grpc", "127.0.0.1:1"]
    assert told(*grpc, *free_ports) == []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        (line,) = told(*grpc, "--admin", at, *free_ports[2:])
        assert line.startswith(f"pointsman: --admin: {at} is in use on this machine, maybe by another Envoy; give this")
        assert told(*grpc, *free_ports[:2], "--public", at)[0].startswith(f"pointsman: --public: {at} is in use")
        assert told(*grpc, "--admin", at, "--public", at, "--elsewhere") == []
    assert (
        "192.0.2.1:20000 is not an address of this machine"
        in told(*grpc, *free_ports[:2], "--public", "192.0.2.1:20000")[0]
    )

    # Files are the same for all sidecars of a service: they are made for where it is registered.
    files = ["--files", str(tmp_path / "envoys"), *free_ports[:2]]
    assert run(["bootstrap", "s1", "--dc", "dc1", *certificates, *files, *free_ports[2:]]) == 2
    assert f"--public {free_ports[3]} and not 127.0.0.1:20000; register that" in capsys.readouterr().err
    directory = tmp_path / "envoys/dc1/sidecar/default/s1"
    reason = "is not there yet; start `pointsman up --files` before this Envoy"
    assert told(*files) == [f"pointsman: --files: {directory / name} {reason}" for name in ("cds.pb", "lds.pb")]
    assert told(*files, "--elsewhere") == []
    directory.mkdir(parents=True)
    (directory / "cds.pb").touch()
    (directory / "lds.pb").touch()
    assert told(*files) == []

    # What Envoy's command line has to say, wherever it is started.
    resolver = {"Kind": "service-resolver", "Name": "s2", "Failover": {"*": {"Datacenters": ["dc2"]}}}
    drain = {"Kind": "failover-policy", "Name": "s2", "OnSwitch": "drain"}
    assert run(["apply", write("drain.json", [resolver, drain])]) == 0
    for where in ((), ("--elsewhere",)):
        (line,) = told(*files, *where)
        assert line.startswith(
            "pointsman: start this Envoy with --drain-time-s N: connections to upstreams with OnSwitch"
        )


def test_a_bootstrap_knows_a_gateway_by_its_name(
    store: Path,
    write: Callable[[str, Any], str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    free_ports: list[str],
) -> None:
    gateway = {"Kind": "mesh-gateway", "Service": "mesh-gateway", "Address": "127.0.0.1", "Port": 8443}
    services = [{**gateway, "ID": "edge"}, {**gateway, "ID": "s1"}]
    assert (
        run(["apply", write("s.json", [SIDECAR, *({"Datacenter": "dc1", "Service": each} for each in services)])]) == 0
    )
    own = CertificateAuthority(tmp_path / "ca", "pointsman").issue("s1", "dc1")
    certificates = ["--certificate", str(own.certificate), "--private-key", str(own.private_key), "--ca", str(own.ca)]

    def node(name: str, *options: str) -> tuple[str, str]:
        capsys.readouterr()
        assert run(["bootstrap", name, "--dc", "dc1", "--grpc", "127.0.0.1:1", *free_ports, *options]) == 0
        found = json.loads(capsys.readouterr().out)["node"]
        return found["id"], found["cluster"]

    assert node("edge") == node("edge", "--gateway") == ("edge", "mesh-gateway")
    assert node("s1", "--gateway") == ("s1", "mesh-gateway")
    assert node("s1", "--sidecar", *certificates) == ("s1-sidecar-proxy", "s1")
    assert run(["bootstrap", "s1", "--dc", "dc1", "--grpc", "127.0.0.1:1", *certificates]) == 2
    assert '"s1" is a mesh gateway and a service in dc1; give --gateway or --sidecar' in capsys.readouterr().err
    assert run(["bootstrap", "edge", "--sidecar", "--dc", "dc1", "--grpc", "127.0.0.1:1"]) == 1
    assert 'sidecar of "edge": is not registered in dc1; registered are: ' in capsys.readouterr().err


def test_every_problem_of_a_batch_is_listed_and_none_of_it_is_written(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [
        {"Kind": "service-resolver", "Name": "good"},
        {"Kind": "service-resolver", "Name": "s2", "Redirect": {}},
        {"Kind": "service-splitter", "Name": "s3", "Splits": [{"Weight": 99}]},
    ]
    assert run(["apply", write("e.json", entries)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        'pointsman: service-resolver "s2": Redirect: is empty; name at least a Service or a Datacenter',
        'pointsman: service-splitter "s3": Splits: the weights add up to 99, not to 100',
    ]
    assert not store.exists()


def test_a_port_in_use_is_said_so(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [POINTSMAN, "up", "--store", tmp_path / "p.db", "--listen", f"127.0.0.1:{port}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(f"pointsman: 127.0.0.1:{port}: the port is in use")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_render_answers_every_line_and_a_bad_one_does_not_end_the_run() -> None:
    with gzip.open(CASES / "resolver_cases.jsonl.gz") as cases:
        good = [next(cases) for _ in range(2)]
    lines = [good[0], b"{not json\n", b'{"trust_domain": "td"}\n', b"[]\n", good[1]]
    done = subprocess.run(
        [POINTSMAN, "render", "--jsonl"], input=b"".join(lines), capture_output=True, timeout=60, check=True
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in answer for answer in answers] == [False, True, True, True, False]
    assert answers[2]["error"] == "line 3: situation: datacenter: is required"


def test_render_needs_files_only(write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]) -> None:
    instance = event("dc1", "passing", 1)["detail"]["Instances"][0]
    catalog = {
        "Datacenter": "dc1",
        "Node": "n",
        "Address": "10.0.0.1",
        **{k: instance[k] for k in ("Service", "Checks")},
    }
    files = [write("s2.hcl", RESOLVER), write("s1.json", SIDECAR), write("catalog.json", catalog)]
    assert run(["render", "--proxy", "s1", "--dc", "dc1", "--trust-domain", "td", *files]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [cluster["name"] for cluster in answer["clusters"]] == [answer["clusters"][0]["name"]]
    assert answer["clusters"][0]["name"].endswith("s2.default.dc1.internal.td")
    assert answer["listeners"][0]["address"]["socket_address"]["port_value"] == 5000


def test_every_command_explains_itself_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = re.findall(r"^  ([a-z]\w+) +[A-Z]", capsys.readouterr().out.split("\nRun it:")[1], re.MULTILINE)
    assert sorted(listed) == group.list_commands(click.Context(group)), "each command is in one section"
    waiting = [[name] for name in listed]
    seen = set()
    while waiting:
        command = waiting.pop()
        assert run([*command, "--help"]) == 0
        text = capsys.readouterr().out.split("Usage:")[1].split("\n", 1)[1]
        assert "\b" not in text, "its examples are printed in one paragraph"
        if "\nCommands:" in text:
            lines = text.split("\nCommands:")[1].splitlines()
            waiting += [[*command, line.split()[0]] for line in lines if line.startswith("  ") and line[2] != " "]
        else:
            assert f"pointsman {' '.join(command)} " in text
            seen.add(" ".join(command))
    assert {"apply", "bootstrap", "emit", "explain", "render", "status", "up", "adapter http"} <= seen


def test_sources_are_listed_and_forgotten(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", write("s2.json", {"Kind": "service-resolver", "Name": "s2"})]) == 0
    events = [event("dc1", "passing", 1) for _ in range(MOST_SHOWN + 2)]
    for number, each in enumerate(events):
        each["detail"] |= {"Source": "agent/host-7", "Lease": "30s", "Service": f"s{number}", "Index": number + 1}
        each["detail"]["Instances"][0]["Service"]["Proxy"] = {"DestinationServiceName": f"s{number}"}
    assert run(["emit", "--store", str(store), write("events.json", events)]) == 0
    assert run(["source", "list"]) == 0
    assert "dc1  agent/host-7  22 instances of 22 services, lease 30s, last heard at" in capsys.readouterr().out
    assert run(["source", "forget", "agent/host-7"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("  dc1/service/default/s0: 1 instance\n")
    assert "\n  and 2 services more\n22 instances of 22 services in dc1 would vanish; nothing was" in shown.out
    assert "it may speak again" in shown.err
    assert run(["source", "forget", "agent/host-7", "--yes"]) == 0
    assert "forgot agent/host-7: 22 instances of 22 services in dc1 are gone" in capsys.readouterr().out
    assert run(["source", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["source", "forget", "agent/host-7"]) == 1
    assert "tells of nothing" in capsys.readouterr().err


def test_status_shows_what_is_wrong_with_producers(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", write("s2.json", {"Kind": "service-resolver", "Name": "s2"})]) == 0
    events = []
    for number in range(MOST_WARNINGS + 3):
        for status in ("passing", "critical"):
            events.append(event("dc1", status, 7))
            events[-1]["detail"]["Source"] = f"agent/host-{number:02}"
    assert run(["emit", "--store", str(store), write("events.json", events)]) in (0, 3)
    assert run(["source", "list"]) == 0
    assert "do two producers use this name?" in capsys.readouterr().out
    assert run(["status"]) == 0
    shown = capsys.readouterr().out
    assert f"\n{MOST_WARNINGS + 3} warnings, " in shown
    assert '  dc1 agent/host-00: "agent/host-00" stated two different things of ' in shown
    assert ": give each producer a Source of its own (docs/events.md#two-producers-one-name)\n" in shown
    assert "  and 3 warnings more\n" in shown
    assert run(["status", "--json"]) == 0
    assert {each["what"] for each in json.loads(capsys.readouterr().out)["findings"]} >= {"shared"}


def test_a_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        environment = {"PATH": "", "_POINTSMAN_COMPLETE": "bash_complete", "COMP_WORDS": f"pointsman {words}"}
        environment["COMP_CWORD"] = str(len(words.split()))
        done = subprocess.run([POINTSMAN], env=environment, capture_output=True, text=True, timeout=60, check=True)
        return [line.partition(",")[2] for line in done.stdout.split()]

    assert completed("boot") == ["bootstrap"]
    assert completed("status --js") == ["--json"]


def test_explain_says_where_traffic_goes_and_why(
    store: Path, write: Callable[[str, Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["apply", write("s2.hcl", RESOLVER), write("s1.json", SIDECAR)]) == 0
    assert run(["emit", "--store", str(store), write("event.json", event("dc2", "passing", 1))]) == 0
    capsys.readouterr()
    assert run(["explain", "s2", "--dc", "dc1", "--from", "s1"]) == 0
    text = capsys.readouterr().out
    assert " * s2.default.dc2  1 of 1 healthy, active  through no local gateways in dc1 (upstream override)" in text
    assert run(["explain", "s2", "--dc", "dc1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["service"] == "s2"
    assert run(["explain", "s2", "--dc", "dc1", "--from", "s9"]) == 1
    assert capsys.readouterr().err.startswith('pointsman: explain: --from: no sidecar of "s9" in dc1 is registered')
