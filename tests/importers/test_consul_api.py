"""`pointsman import consul --url` asks a Consul for all of its configuration, or says what keeps it from that.

The server stands in for Consul's API, with the shapes of its documentation (`tests/importers/consul.py`).
"""

import json
import re
import shlex
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import run
from pointsman.importers import consul_api
from pointsman.importers.consul_api import Api
from pointsman.model.errors import PointsmanError
from pointsman.serve.access import Access

from tests.fleet.ca import CertificateAuthority
from tests.importers.consul import Told, consul, health, read_back, row
from tests.importers.test_consul import DEFINED, ENTRIES, GATEWAY, SIDECAR, registered

JSON = dict[str, Any]
PAGE = Path(__file__).parents[2] / "docs" / "from-consul.md"


def mesh(**more: Any) -> Told:
    """A Consul with two datacenters."""
    plain = {"Service": "shop", "ID": "shop-1", "Kind": "", "Port": 7000}
    return Told(
        entries=list(ENTRIES),
        registered=[
            registered(plain),
            *(registered(SIDECAR, f"n{i}", ID=f"shop-{i}-sidecar-proxy") for i in (1, 2)),
            registered(GATEWAY),
            registered(GATEWAY, dc="dc2"),
        ],
        **more,
    )


def page_mesh() -> Told:
    """The Consul of docs/from-consul.md."""

    def sidecar(service: str, dc: str, number: int, *upstreams: JSON) -> JSON:
        proxy = {"DestinationServiceName": service, "LocalServicePort": 8080, "Upstreams": list(upstreams)}
        named = {"Service": f"{service}-sidecar-proxy", "ID": f"{service}-{number}-sidecar-proxy"}
        address = f"10.{dc[-1]}.0.{number}"
        return registered({"Kind": "connect-proxy", **named, "Port": 21000, "Proxy": proxy}, f"{dc}-{number}", dc) | {
            "Address": address
        }

    shop = {"DestinationName": "stock", "LocalBindPort": 9191}
    return Told(
        entries=[
            {
                "Kind": "proxy-defaults",
                "Name": "global",
                "Config": {"protocol": "http", "envoy_prometheus_bind_addr": "0.0.0.0:9102"},
                "MeshGateway": {"Mode": "local"},
            },
            {
                "Kind": "service-resolver",
                "Name": "stock",
                "ConnectTimeout": "3s",
                "Failover": {"*": {"Targets": [{"Datacenter": "dc2"}, {"Peer": "partner"}]}},
            },
            {"Kind": "service-intentions", "Name": "stock", "Sources": [{"Name": "shop", "Action": "allow"}]},
            {"Kind": "terminating-gateway", "Name": "out", "Services": [{"Name": "billing"}]},
        ],
        registered=[
            *(sidecar("shop", "dc1", number, shop) for number in (6, 7)),
            *(sidecar("stock", dc, 8) for dc in ("dc1", "dc2")),
            *(registered(GATEWAY, f"{dc}-9", dc, Address=f"10.{dc[-1]}.0.9") for dc in ("dc1", "dc2")),
        ],
        settings={"ACLsEnabled": True, "ACLResolverSettings": {"ACLsEnabled": True, "ACLDefaultPolicy": "deny"}},
        trust_domain="7e1b4f4a.consul",
    )


def files(directory: Path) -> dict[str, list[JSON]]:
    """The documents that were written, by file."""
    return {each.stem: json.loads(each.read_text()) for each in directory.iterdir()}


def test_all_entries_sidecars_and_gateways_of_all_datacenters_come(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = mesh(busy=2, token="secret")
    (tmp_path / "token").write_text("secret\n")
    with consul(told) as url:
        arguments = ["import", "consul", "--url", url, "--token-file", str(tmp_path / "token")]
        watches = ["--watches", str(tmp_path / "watches"), "--to", "http://10.1.0.5:8420"]
        assert run([*arguments, "--out", str(tmp_path / "config"), *watches]) == 0
        assert run([*arguments, "--datacenters", "dc2", "--out", str(tmp_path / "dc2")]) == 0
        assert run([*arguments, "--datacenters", "dc3", "--out", str(tmp_path / "dc3")]) == 1
    said = capfd.readouterr()
    assert f"{url}: Consul 1.17.0, 2 datacenters" in said.err
    assert "--datacenters: dc3 is none of its datacenters: dc1, dc2" in said.err
    assert "the trust domain is 11111111.consul" in said.out
    found = files(tmp_path / "config")
    assert sorted(found) == ["cart", "mesh-gateways", "proxy-defaults", "shop", "stock"]
    assert [each["Datacenter"] for each in found["mesh-gateways"]] == ["dc1", "dc2"]
    registration = next(each for each in found["shop"] if "Service" in each)
    assert registration["Service"]["Proxy"]["LocalServicePort"] == 7000
    assert "shop" in files(tmp_path / "dc2")
    assert len(files(tmp_path / "dc2")["mesh-gateways"]) == 1
    watched = json.loads((tmp_path / "watches" / "dc1.json").read_text())["watches"]
    assert [(each["service"], each["http_handler_config"]["path"]) for each in watched] == [
        ("mesh-gateway", "http://10.1.0.5:8420/v1/consul/watch?type=service&dc=dc1&kind=mesh-gateway"),
        ("shop-sidecar-proxy", "http://10.1.0.5:8420/v1/consul/watch?type=service&dc=dc1&service=shop"),
    ]
    assert f"wrote 2 files with watches for Consul's agents to {tmp_path / 'watches'}" in said.out
    # A Consul is only read.
    assert all(each.startswith("/v1/") for each in told.asked)


def test_the_page_shows_what_the_command_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    block = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0]
    with consul(page_mesh()) as url:
        out, watches = f"{tmp_path}/config", f"{tmp_path}/watches"
        assert run(["import", "consul", "--url", url, "--out", out, "--watches", watches]) == 3
    said = capfd.readouterr().out.replace(url, "http://127.0.0.1:8500").replace(f"{tmp_path}/config", "config/")
    assert said.replace(f"{tmp_path}/watches", "watches/") == block


def commands() -> list[list[str]]:
    """The commands of the page that begin with pointsman, without those that run on."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", "").splitlines()
    found = [shlex.split(line) for line in lines if line.startswith("pointsman ")]
    return [each[1:] for each in found if each[1] != "up" and not {"--to", "--dump"} & {*each}]


def test_the_commands_of_the_page_do_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    identity = CertificateAuthority(tmp_path / "ca", "7e1b4f4a.consul").issue("shop", "dc1")
    for name, file in (
        ("shop.pem", identity.certificate),
        ("shop.key", identity.private_key),
        ("roots.pem", identity.ca),
    ):
        (tmp_path / name).write_bytes(file.read_bytes())
    definition = json.loads(json.dumps(DEFINED))
    definition["service"]["connect"]["sidecar_service"]["port"] = 21000
    for directory in ("entries", "consul.d"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "shop.json").write_text(json.dumps(definition))
    (tmp_path / "resolvers.json").write_text(json.dumps(read_back(ENTRIES[1])))
    (tmp_path / "sidecars.json").write_text(json.dumps([row(registered(SIDECAR))]))
    codes: dict[str, list[int]] = {}
    with consul(page_mesh()) as url:
        for each in commands():
            typed = [word.replace("http://127.0.0.1:8500", url) for word in each]
            typed = [
                word.replace("/etc/", "").replace("/run/", "" if "secrets" in typed else "/run/") for word in typed
            ]
            if "config/" in typed and "--out" in typed and url not in typed:
                typed[-1] = "files/"
            if typed[0] == "bootstrap":
                assert run([*typed[: typed.index(">")]]) == 0
            elif typed[:2] == ["source", "forget"]:
                assert run(["emit", "--store", "pointsman.db", _told(tmp_path)]) == 0
                assert run(typed) == 0
            else:
                codes.setdefault(typed[0], []).append(run(typed))
    assert codes == {
        "import": [3, 0, 3],
        "apply": [4, 0, 0],
        "explain": [0],
        "status": [3],
        "doctor": [1],
        "secrets": [0],
        "agent": [0],
        "source": [0],
    }, capfd.readouterr()


def _told(directory: Path) -> str:
    """An event as that of a watch."""
    about: JSON = {"Source": "consul-dc1", "Index": 1, "Datacenter": "dc1", "Service": "stock"}
    about["Instances"] = [health(registered(SIDECAR, Proxy={"DestinationServiceName": "stock"}))]
    (directory / "event.json").write_text(json.dumps(about))
    return str(directory / "event.json")


def test_the_environment_of_consuls_own_tools_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with consul(mesh(token="secret")) as url:
        monkeypatch.setenv("CONSUL_HTTP_ADDR", url.removeprefix("http://"))
        monkeypatch.setenv("CONSUL_HTTP_TOKEN", "secret")
        assert run(["import", "consul", "--out", str(tmp_path / "config")]) == 0


def test_over_tls_it_wants_a_certificate_and_shows_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    authority = CertificateAuthority(tmp_path / "ca", "example")
    server = authority.issue_as("server", [(7, socket.inet_aton("127.0.0.1"))])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.ca))
    context.load_cert_chain(server.certificate, server.private_key)
    context.verify_mode = ssl.CERT_REQUIRED
    shown = ["--ca", str(server.ca), "--cert", str(server.certificate), "--key", str(server.private_key)]
    with consul(mesh(), context) as url:
        arguments = ["import", "consul", "--url", url, "--out", str(tmp_path / "config")]
        assert run(arguments) == 1
        assert "certificate" in capfd.readouterr().err.lower()
        assert run([*arguments, *shown]) == 0


def test_of_an_enterprise_consul_all_namespaces_are_asked_for_and_peers_are_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = mesh(version="1.17.0+ent")
    told.answers["/v1/namespaces"] = (200, [{"Name": "default"}, {"Name": "team"}])
    told.answers["/v1/peerings"] = (200, [{"ID": "1", "Name": "partner", "State": "ACTIVE", "PeerID": "2"}])
    told.entries.append({"Kind": "service-resolver", "Name": "own", "Namespace": "team", "Partition": "default"})
    with consul(told) as url:
        assert run(["import", "consul", "--url", url, "--out", str(tmp_path / "config")]) == 3
    assert f"not converted: {url}/v1/peerings: is not supported by Pointsman: clusters are" in capfd.readouterr().out
    assert {"/v1/config/service-resolver?ns=%2A", "/v1/catalog/services?dc=dc2&ns=team"} <= {*told.asked}
    assert files(tmp_path / "config")["namespaces"] == [{"Kind": "namespace", "Name": "team"}]
    assert files(tmp_path / "config")["team.own"][0]["Namespace"] == "team"


def test_intentions_of_an_old_consul_come_from_its_own_list(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    row = {"ID": "1", "SourceNS": "default", "SourceName": "web", "DestinationNS": "default", "DestinationName": "shop"}
    row |= {"SourceType": "consul", "Action": "deny", "Precedence": 9, "Meta": {}, "CreatedAt": "2018-05-21T16:41:27Z"}
    with consul(mesh(version="1.8.19", intentions=[row])) as url:
        assert run(["import", "consul", "--url", url, "--out", str(tmp_path / "config")]) in (0, 3)
    assert "intentions" in capfd.readouterr().out


REFUSED: dict[str, tuple[Callable[[Told], None], str]] = {
    "no Consul": (lambda told: told.answers.update({"/v1/catalog/datacenters": (404, "")}), "is no Consul"),
    "a page": (lambda told: told.answers.update({"/v1/status/leader": (200, b"<html>")}), "is no Consul"),
    "no rows": (
        lambda told: told.answers.update({"/v1/catalog/service/shop-sidecar-proxy": (404, "")}),
        "/v1/catalog/service/shop-sidecar-proxy: was not answered with a list",
    ),
    "no leader": (lambda told: told.answers.update({"/v1/status/leader": (200, "")}), "has no leader"),
    "ill": (lambda told: told.answers.update({"/v1/catalog/services": (500, "rpc error")}), "answered 500: rpc error"),
    "a datacenter that is away": (
        lambda told: told.answers.update({"/v1/catalog/services": (500, "No path to datacenter")}),
        "Consul does not reach that datacenter; leave it out",
    ),
    "no permission": (
        lambda told: told.answers.update({"/v1/config/proxy-defaults": (403, "Permission denied")}),
        'the token (--token-file) needs service_prefix "" { policy = "read"',
    ),
    "an answer that has not all": (
        lambda told: told.headers.update({"/v1/catalog/services": {"X-Consul-Results-Filtered-By-ACLs": "true"}}),
        'the token may not read all of it; it needs node_prefix ""',
    ),
    "somewhere else": (
        lambda told: (
            told.answers.update({"/v1/config/proxy-defaults": (301, "")}),
            told.headers.update({"/v1/config/proxy-defaults": {"Location": "https://other/"}}),
        )[0],
        "leads on to https://other/; give that as --url",
    ),
    "no mapping": (
        lambda told: told.answers.update({"/v1/catalog/services": (200, [])}),
        "not answered with a mapping",
    ),
    "no list": (lambda told: told.answers.update({"/v1/config/proxy-defaults": (200, {"a": 1})}), "with a list"),
    "no JSON": (lambda told: told.answers.update({"/v1/catalog/datacenters": (200, [1])}), "is no list of names"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_keeps_it_from_reading_all_is_said_and_nothing_is_written(
    what: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul_api, "_PAUSE_S", 0)
    spoil, reason = REFUSED[what]
    told = mesh()
    spoil(told)
    with consul(told) as url:
        assert run(["import", "consul", "--url", url, "--out", str(tmp_path / "config")]) == 1
    assert reason in capfd.readouterr().err
    assert not (tmp_path / "config").exists()


def test_what_is_not_safe_or_not_there_is_not_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "empty").write_text("\n")
    out = ["--out", str(tmp_path / "config")]
    for more, reason in (
        (["--url", "http://consul.example:8500", "--token-file", str(tmp_path / "token")], "sent over https alone"),
        (["--url", "http://127.0.0.1:1/ui", "--token-file", str(tmp_path / "token")], "neither http(s)://HOST:PORT"),
        (["--url", "http://127.0.0.1:1", "--token-file", str(tmp_path / "empty")], "holds no token of Consul's"),
        (["--url", "http://127.0.0.1:1"], "cannot be reached"),
        (["--url", f"unix:{tmp_path}/none.sock"], "cannot be reached"),
    ):
        assert run(["import", "consul", *more, *out]) == 1
        assert reason in capfd.readouterr().err


def test_bounds_of_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(consul_api, "ANSWER_SECONDS", 0.05)
        with pytest.raises(PointsmanError, match=r"no complete answer within 0.05 s"):
            Api(f"http://127.0.0.1:{silent.getsockname()[1]}", Access(), print).who()
    monkeypatch.setattr(consul_api, "ANSWER_SECONDS", 30)
    slept: list[float] = []
    lines: list[str] = []
    told = mesh(busy=99)
    with consul(told) as url:
        api = Api(url, Access(), lines.append, slept.append)
        with pytest.raises(PointsmanError, match="was answered 429"):
            api.who()
        assert len(told.asked) == consul_api.MOST_TRIES == len(slept) + 1
        told.busy = 0
        found = api.who()
        api.all_of(found, found.datacenters)
        assert "dc1: 4 of 4 services" in lines
        monkeypatch.setattr(consul_api, "MOST_SERVICES", 3)
        with pytest.raises(PointsmanError, match="has 4 services, 3 are the most; import from files"):
            api.all_of(found, found.datacenters)
