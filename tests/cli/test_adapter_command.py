"""`pointsman adapter` as a process: it prints its addresses, serves, and ends on a signal."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.json_format import MessageToDict
from pointsman.cli.main import run
from pointsman.delivery.endpoint_source import over_ads
from pointsman.delivery.own import OwnOf
from pointsman.delivery.secret_source import read_sds, with_sds
from pointsman.xds.inbound import Host, Inbound, IpPort

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST, manifest
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.adapter.rest import Envoy
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.documents import Caller, Site, s1_sidecar
from tests.fleet.process import Child, wait_until


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    store = Remote(path)
    publisher = Publisher(store)
    publisher.head(sidecar_plan(), content())
    publisher.manifest(MANIFEST, manifest("s2"))
    store.close()
    return path


def adapter(directory: Path, *arguments: str | Path) -> Child:
    return Child("adapter", [POINTSMAN, "adapter", *arguments], directory)


def ready(child: Child) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wait_until(child.out.read_bytes, "it to be ready", children=[child]))
    assert found.pop("ready") is True
    return found


def test_files_are_kept_for_the_proxies_that_are_named(store: Path, tmp_path: Path) -> None:
    where = tmp_path / "envoys"
    with adapter(tmp_path, "files", "--store", store, "--files", where, "--proxy", "dc1/sidecar/default/s1") as child:
        assert ready(child) == {"files": str(where), "keep": str(where / ".pointsman/kept")}
        wait_until((where / "dc1/sidecar/default/s1/lds.pb").exists, "the files", children=[child])


def test_one_process_serves_http_and_grpc_and_operators(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "xds.sock"
    where = ("--unix", path, "--grpc", "127.0.0.1:0", "--ops", "127.0.0.1:0")
    with adapter(tmp_path, "http", "--store", store, *where, "--proxy", "dc1/sidecar/default/s1") as child:
        found = ready(child)
        assert set(found) == {"http", "grpc", "ops"}
        assert found["http"] == f"unix:{path}"
        assert Envoy(path).ask("clusters").names == ["s2.default.dc1.internal.mesh.example"]
        for page in ("healthz", "readyz", "metrics", "config_dump", "rejections"):
            with urlopen(f"{found['ops']}/{page}", timeout=10) as answer:
                assert answer.status == 200
        child.stop()
        assert not path.exists()


def test_an_adapter_starts_from_what_it_kept_while_its_store_is_gone(store: Path, tmp_path: Path) -> None:
    path, kept, elsewhere = tmp_path / "xds.sock", tmp_path / "kept", tmp_path / "elsewhere"
    arguments = ("http", "--store", store, "--unix", path, "--keep", kept)
    with adapter(tmp_path, *arguments) as child:
        assert ready(child) == {"http": f"unix:{path}", "keep": str(kept)}
        assert Envoy(path).ask("clusters").status == 200
        wait_until(lambda: len(list(kept.glob("*.kept"))) == 2, "it to be kept", children=[child])
    elsewhere.mkdir()
    for file in tmp_path.glob("store.db*"):
        file.rename(elsewhere / file.name)
    again = Child("again", [POINTSMAN, "adapter", *arguments], tmp_path)
    with again:
        ready(again)
        assert Envoy(path).ask("clusters").names == ["s2.default.dc1.internal.mesh.example"]
        assert not store.exists()
        why = f"`pointsman up` or `pointsman apply` makes one; serving what is kept in {kept}"
        assert why in read(again)
        for file in elsewhere.iterdir():
            file.rename(tmp_path / file.name)
        wait_until(lambda: "the store can be read again" in read(again), "the store", children=[again])


def read(child: Child) -> str:
    """What it says on stderr."""
    return child.err.read_text()


def test_nothing_kept_and_no_store_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pointsman.cli.main import run

    gone, kept = tmp_path / "gone" / "store.db", tmp_path / "kept"
    where = ("--store", str(gone), "--listen", "127.0.0.1:0", "--keep", str(kept))
    assert run(["adapter", "http", *where]) == 1
    assert str(gone) in capsys.readouterr().err


def test_operators_are_told_what_is_withheld_from_envoys_and_why(store: Path, tmp_path: Path) -> None:
    opened = Remote(store)
    publisher, key = Publisher(opened), f"snapshots/{sidecar_plan().key}"
    good = content()
    publisher.head(sidecar_plan(), replace(good, assignment=b""))
    where = ("--listen", "127.0.0.1:0", "--proxy", "dc1/sidecar/default/s1")
    with adapter(tmp_path, "http", "--store", store, *where) as child, contextlib.closing(opened):
        url = ready(child)["http"]

        def page(name: str) -> bytes:
            try:
                with urlopen(f"{url}/{name}", timeout=10) as answer:
                    return answer.read()
            except HTTPError as error:
                return error.read()

        wait_until(lambda: b"pointsman_withheld 1.0" in page("metrics"), "it to be counted", children=[child])
        waiting_for = json.loads(page("readyz"))["waiting_for"]
        assert waiting_for.startswith("the sidecar of default/s1 in dc1; ")
        assert f"{key} is not fit for use" in waiting_for
        (problem,) = json.loads(page("config_dump"))["problems"]["dc1/sidecar/default/s1"]
        assert "is not that of cluster" in problem
        publisher.head(sidecar_plan(), good)
        wait_until(lambda: json.loads(page("readyz"))["ready"], "it to be served", children=[child])
        assert b"pointsman_withheld 0.0" in page("metrics")
        assert json.loads(page("config_dump"))["problems"] == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("http",), "give either --listen IP:PORT or --unix PATH"),
        (("http", "--listen", "0.0.0.0:0"), "give --tls-cert, --tls-key and --client-ca"),
        (("http", "--listen", "here:1"), '--listen: "here:1" is neither IP:PORT nor unix:PATH'),
        (("http", "--listen", "127.0.0.1:0", "--tls-cert", "x.pem"), "--tls-cert, --tls-key and --client-ca together"),
        (("http", "--listen", "127.0.0.1:0", "--proxy", "s1"), '"s1" is neither DC/sidecar/NAMESPACE/SERVICE nor'),
        (("files", "--files", "envoys", "--envoy-version", "new"), '"new" is not a version like 1.40.0'),
        (("files", "--files", "envoys", "--envoy-admin", "10.0.0.1:9901"), '--envoy-admin: "10.0.0.1:9901" is not on'),
        (("http", "--listen", "127.0.0.1:0", "--keep", "/proc/kept"), "/proc/kept: cannot be written to"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    arguments: tuple[str, ...], said: str, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["adapter", *arguments, "--store", str(store)]) != 0
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("sds", ["/run/certs", "spire:web,ALL"])
def test_envoys_are_told_of_secrets_that_rotate_as_their_bootstraps_are(
    sds: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with adapter(tmp_path, "http", "--store", store, "--unix", tmp_path / "xds.sock", "--sds", sds) as child:
        ready(child)
        (cluster,) = Envoy(tmp_path / "xds.sock").ask("clusters").resources
    registered = tmp_path / "s1.json"
    registered.write_text(json.dumps(s1_sidecar(Caller(Site("dc1", "127.0.0.1", 1, 2, 3, 4, 5), 6, 7, 8))))
    mesh = tmp_path / "mesh.db"
    assert run(["apply", "--store", str(mesh), str(registered)]) == 0
    capsys.readouterr()
    arguments = ["bootstrap", "s1", "--store", str(mesh), "--dc", "dc1", "--http", "127.0.0.1:8421", "--sds", sds]
    arguments.append("--elsewhere")
    assert run(arguments) == 0
    bootstrap = json.loads(capsys.readouterr().out)
    host = Host(IpPort("127.0.0.1", 7), IpPort("127.0.0.1", 8))
    (own,) = OwnOf(Inbound("mesh.example"), with_sds(over_ads(), read_sds(sds))).of(host).listeners
    (chain,) = MessageToDict(Listener.FromString(own.serialized), preserving_proto_field_name=True)["filter_chains"]
    tls, theirs = (each["transport_socket"]["typed_config"]["common_tls_context"] for each in (chain, cluster))
    assert tls["tls_certificate_sds_secret_configs"] == theirs["tls_certificate_sds_secret_configs"]
    trust = "validation_context_sds_secret_config"
    assert tls["combined_validation_context"][trust] == theirs["combined_validation_context"][trust]
    clusters = {each["name"] for each in bootstrap["static_resources"]["clusters"]}
    assert clusters == {"pointsman"} | ({"sds"} if sds.startswith("spire") else set())
    assert run([*arguments, "--certificate", "s1.pem"]) == 2
    assert "give either --sds or --certificate" in capsys.readouterr().err
