"""Real Envoys whose certificates come over SDS: everything rotates, down to the CA, while traffic flows."""

import contextlib
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pytest
from pointsman.bootstrap.document import (
    AdapterTls,
    Address,
    FetchGrpc,
    FetchHttp,
    Host,
    IpPort,
    Node,
    SdsFiles,
    SdsSocket,
    SecretFiles,
    UnixSocket,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.bootstrap.sds_files import LARGEST_PEM_BYTES, write_sds_files
from pointsman.bootstrap.secrets import Secrets
from pointsman.cli.main import run
from pointsman.delivery.secret_source import Sds, SdsServer
from pointsman.model.errors import InvalidInput
from pointsman.xds.content import compute
from pointsman.xds.inbound import Inbound
from pointsman.xds.manifest import SidecarManifest

from tests.adapter.doubles import Remote
from tests.adapter.node import MANIFEST
from tests.adapter.published import TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.sds import Agent
from tests.adapter.streams import Adapter
from tests.fleet.ca import CertificateAuthority, Identity
from tests.fleet.client import patient
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy, validate
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Child, Ports, wait_listening, wait_until

ADMIN = Address("127.0.0.1", 19000)
PUBLIC = Host(IpPort("127.0.0.1", 20000), IpPort("127.0.0.1", 8080))
ADAPTER = f"spiffe://{TRUST_DOMAIN}/ns/default/dc/dc1/svc/adapter"


class _Workload(ABC):
    """The source of one proxy's certificates. `sds` is the option for its adapter."""

    sds: Sds

    @property
    @abstractmethod
    def secrets(self) -> Secrets:
        """The options for its bootstrap."""

    @abstractmethod
    def rotate(self, identity: Identity, ca: bytes) -> None:
        """Give it another certificate and other CAs."""


class _Files(_Workload):
    """Files, as `pointsman secrets` writes them."""

    def __init__(self, name: str, directory: Path, held: contextlib.ExitStack) -> None:
        self.sds = SdsFiles(str(directory / f"{name}-sds"))

    @property
    def secrets(self) -> Secrets:
        return self.sds

    def rotate(self, identity: Identity, ca: bytes) -> None:
        trusted = Path(f"{self.sds.directory}.pem")
        trusted.write_bytes(ca)
        files = SecretFiles(str(identity.certificate), str(identity.private_key), str(trusted))
        assert write_sds_files(files, self.sds)
        assert write_sds_files(files, self.sds) == []


class _Spire(_Workload):
    """An agent's socket."""

    sds = SdsServer()
    trust_domain = ""

    def __init__(self, name: str, directory: Path, held: contextlib.ExitStack) -> None:
        self._socket = directory / f"{name}-agent.sock"
        self.agent = held.enter_context(Agent(self._socket, self.trust_domain))

    @property
    def secrets(self) -> Secrets:
        return SdsSocket(UnixSocket(str(self._socket)))

    def rotate(self, identity: Identity, ca: bytes) -> None:
        self.agent.serve(identity, ca)


class _SpireByTrustDomain(_Spire):
    """Trust as newer agents send it to newer Envoys."""

    trust_domain = TRUST_DOMAIN


@pytest.mark.envoy
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(_Files, id="SDS files"),
        pytest.param(_Spire, id="an agent's socket"),
        pytest.param(_SpireByTrustDomain, id="an agent's socket, CAs by trust domain"),
    ],
)
def test_certificates_and_their_ca_rotate_while_traffic_flows(
    kind: type[_Files] | type[_Spire], store: Remote, publisher: Publisher, tmp_path: Path
) -> None:
    old, new = (CertificateAuthority(tmp_path / name, TRUST_DOMAIN) for name in ("old", "new"))
    with contextlib.ExitStack() as held:
        ports = held.enter_context(Ports())
        upstream, public, app = (ports.take("127.0.0.1") for _ in range(3))
        caller, called = (kind(name, tmp_path, held) for name in ("s1", "s2"))

        def rotate(authority: CertificateAuthority, *trusted: CertificateAuthority) -> dict[str, int]:
            """Other certificates and CAs for both: the certificates' serial numbers."""
            ca = b"".join(each.file.read_bytes() for each in trusted)
            identities = {service: authority.issue(service, "dc1") for service in ("s1", "s2")}
            for workload, service in ((caller, "s1"), (called, "s2")):
                workload.rotate(identities[service], ca)
            return {service: each.serial for service, each in identities.items()}

        rotate(old, old)
        plan = sidecar_plan("", failover=())
        publisher.head(plan, compute(plan, instances(["dc1"], port=public), TRUST_DOMAIN))
        listener = upstream_listener("s2", "127.0.0.1", upstream, f"s2.default.dc1.internal.{TRUST_DOMAIN}")
        publisher.manifest(MANIFEST, SidecarManifest(1, ("s2.default.dc1",), (listener.SerializeToString(),)))
        publisher.manifest(MANIFEST.replace("s1", "s2"), SidecarManifest(1, (), (), inbound=Inbound(TRUST_DOMAIN)))

        def sidecar(service: str, workload: _Workload, at: int) -> Envoy:
            path = tmp_path / f"{service}-ads.sock"
            held.enter_context(Adapter(store, f"unix:{path}", sds=workload.sds))
            bootstrap = sidecar_bootstrap(
                Node(f"{service}-1", service, "dc1"),
                Address("127.0.0.1", ports.take("127.0.0.1")),
                FetchGrpc(UnixSocket(str(path))),
                secrets=workload.secrets,
                host=Host(IpPort("127.0.0.1", at), IpPort("127.0.0.1", app)),
            )
            return held.enter_context(Envoy(service, bootstrap, tmp_path))

        command = [sys.executable, "-m", "tests.fleet.app", "--name", "dc1", "--address", "127.0.0.1"]
        service = held.enter_context(Child("app", [*command, "--port", str(app)], tmp_path))
        wait_listening(service, "127.0.0.1", app)
        envoys = [sidecar("s1", caller, ports.take("127.0.0.1")), sidecar("s2", called, public)]
        for envoy in envoys:
            envoy.wait_ready()
        client = held.enter_context(patient("127.0.0.1", upstream))
        client.wait_for_answer("dc1", after=0.0)
        began = time.perf_counter()
        # Who is to trust the new CA has to know it before the first certificate comes from there.
        for signs, trusted in ((old, (old, new)), (new, (old, new)), (new, (new,))):
            serials = rotate(signs, *trusted)
            cas = frozenset(each.serial for each in trusted)
            for envoy in envoys:
                wanted = {(frozenset([serials[envoy.name]]), cas)}
                wait_until(lambda envoy=envoy, wanted=wanted: envoy.certificates() == wanted, "certificates to rotate")
            client.wait_for_answer("dc1", after=time.perf_counter() + 0.1)
        # Nobody here trusts the old CA any more: the last answers came over certificates of the new one.
        client.wait_past(time.perf_counter())
        assert [each for each in client.attempts(began) if each.failure] == []
        if isinstance(caller, _Spire):
            assert caller.agent.asked_for == {"default", "ROOTCA"}
            assert caller.agent.rejected == []


@pytest.mark.envoy
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
@pytest.mark.parametrize(
    "fetch",
    [
        pytest.param(lambda tls: FetchHttp(Address("127.0.0.1", 8421)), id="HTTP"),
        pytest.param(lambda tls: FetchGrpc(Address("192.0.2.1", 8422), tls), id="gRPC with TLS"),
        pytest.param(lambda tls: FetchHttp(Address("192.0.2.1", 8421), tls), id="HTTP with TLS"),
    ],
)
@pytest.mark.parametrize("kind", ["files", "socket"])
def test_envoy_accepts_every_bootstrap_with_sds(tmp_path: Path, binary: Path, fetch: Any, kind: str) -> None:
    identity = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN).issue("s2", "dc1")
    files, sds = (
        SecretFiles(*map(str, (identity.certificate, identity.private_key, identity.ca))),
        SdsFiles(str(tmp_path)),
    )
    write_sds_files(files, sds)
    secrets: Secrets = sds if kind == "files" else SdsSocket(UnixSocket("/run/agent.sock"), SdsServer("a", "b"))
    way = fetch(AdapterTls(secrets, ADAPTER))
    sidecar = sidecar_bootstrap(Node("s2-1", "s2", "dc1"), ADMIN, way, secrets=secrets, host=PUBLIC)
    assert validate(sidecar, tmp_path, binary) == ""
    gateway = gateway_bootstrap(Node("gateway-dc1", "mesh-gateway", "dc1"), ADMIN, way)
    assert validate(gateway, tmp_path, binary) == ""


def test_a_source_of_secrets_that_cannot_be_is_refused() -> None:
    node, fetch = Node("s2-1", "s2", "dc1"), FetchHttp(Address("127.0.0.1", 8421))
    for secrets, said in (
        (SdsFiles("certs"), "SDS files: 'certs' must be an absolute path"),
        (SdsSocket(UnixSocket("agent.sock")), "SDS socket: 'agent.sock' must be an absolute path"),
        (SdsSocket(UnixSocket("/agent.sock"), SdsServer("", "b")), "SDS socket: the names of the certificate"),
    ):
        with pytest.raises(InvalidInput) as refused:
            sidecar_bootstrap(node, ADMIN, fetch, secrets=secrets, host=PUBLIC)
        assert said in str(refused.value)


def test_what_tools_write_around_certificates_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    issued = authority.issue("s1", "dc1")
    where = tmp_path / "sds"

    def secrets(comment: bytes) -> dict[str, bytes]:
        options: list[str] = []
        for name, path in (("certificate", issued.certificate), ("private-key", issued.private_key), ("ca", issued.ca)):
            commented = tmp_path / f"{name}.pem"
            commented.write_bytes(comment + path.read_bytes() + comment)
            options += [f"--{name}", str(commented)]
        assert run(["secrets", str(where), *options]) == 0
        return {each.name: each.read_bytes() for each in where.iterdir()}

    plain = secrets(b"")
    assert b"BEGIN CERTIFICATE" in plain["trust.yaml"]
    for comment in (
        "# Autorité de Zürich\n".encode(),
        "# Zürich\r\n".encode("latin-1"),
        b"\xff\x00\n",
        b"subject=CN = x\n",
    ):
        assert secrets(comment) == plain
    assert capsys.readouterr().out.count("changed") == 2 + 4
    huge = tmp_path / "huge"
    huge.write_bytes(issued.ca.read_bytes() + b"#" * LARGEST_PEM_BYTES)
    given = ["--certificate", str(issued.certificate), "--private-key", str(issued.private_key), "--ca", str(huge)]
    assert run(["secrets", str(where), *given]) == 1
    assert f"is longer than {LARGEST_PEM_BYTES} bytes" in " ".join(capsys.readouterr().err.split())


def test_what_is_no_certificate_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    one, other = (authority.issue(service, "dc1") for service in ("s1", "s2"))
    where = tmp_path / "sds"

    def secrets(certificate: Path, key: Path, ca: Path) -> int:
        given = ["--certificate", str(certificate), "--private-key", str(key), "--ca", str(ca)]
        return run(["secrets", str(where), *given])

    assert secrets(one.certificate, one.private_key, one.ca) == 0
    before = {each: each.read_bytes() for each in where.iterdir()}
    assert sorted(each.name for each in before) == ["identity.yaml", "trust.yaml"]
    assert {each.stat().st_mode & 0o777 for each in before} == {0o600}
    assert secrets(one.certificate, other.private_key, one.ca) == 1
    assert "are not a certificate and its key in PEM: KEY_VALUES_MISMATCH" in " ".join(capsys.readouterr().err.split())
    assert secrets(one.certificate, one.private_key, one.private_key) == 1
    assert "has no certificates in PEM" in " ".join(capsys.readouterr().err.split())
    assert {each: each.read_bytes() for each in where.iterdir()} == before
