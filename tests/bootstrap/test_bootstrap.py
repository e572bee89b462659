"""Both Envoys start on every bootstrap that we write, and what would keep them from it is refused with the reason."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener
from pointsman.bootstrap.document import (
    AdapterTls,
    Address,
    Fetch,
    FetchFiles,
    FetchFunction,
    FetchHttp,
    Host,
    IpPort,
    Node,
    SecretFiles,
    UnixSocket,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.delivery.deliver import gateway_listeners
from pointsman.delivery.endpoint_source import over_ads
from pointsman.delivery.secret_source import secrets_of
from pointsman.discovery.node import Asking, read_node
from pointsman.discovery.proxy import SidecarId
from pointsman.model.errors import InvalidInput
from pointsman.xds.inbound import Inbound
from pointsman.xds.manifest import GatewayManifest, GatewaysManifest
from pointsman.xds.public_listener import own_listeners

from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy, validate
from tests.fleet.handmade import write_response
from tests.fleet.process import Ports, wait_until
from tests.xds.route_entries import chains_and_listeners
from tests.xds.route_entries import upstream as upstream_at

ADMIN = Address("127.0.0.1", 19000)
NODE = Node("s2-1", "s2", "dc1")
FILES = FetchFiles("/var/lib/pointsman/dc1/sidecar/default/s2")
FUNCTION = FetchFunction("abc123.lambda-url.eu-central-1.on.aws", "eu-central-1")
SECRETS = SecretFiles("/etc/identity.pem", "/etc/identity.key", "/etc/ca.pem")
PUBLIC = Host(IpPort("127.0.0.1", 20000), IpPort("127.0.0.1", 8080))
EVERYTHING = replace(PUBLIC, access_log="/var/log/public.json")


@pytest.mark.envoy
@pytest.mark.parametrize("envoy", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
@pytest.mark.parametrize(
    "write",
    [
        pytest.param(
            lambda fetch, secrets: sidecar_bootstrap(NODE, ADMIN, fetch, secrets=secrets, host=PUBLIC),
            id="plain sidecar",
        ),
        pytest.param(
            lambda fetch, secrets: sidecar_bootstrap(NODE, ADMIN, fetch, secrets=secrets, host=EVERYTHING),
            id="sidecar with an access log",
        ),
        pytest.param(
            lambda fetch, secrets: sidecar_bootstrap(
                replace(NODE, namespace="team-a"),
                Address("::1", 19000),
                fetch,
                secrets=secrets,
                host=Host(IpPort("::", 20000), IpPort("::1", 8080)),
            ),
            id="sidecar in a namespace, on IPv6",
        ),
        pytest.param(
            lambda fetch, secrets: gateway_bootstrap(Node("gateway-dc1", "mesh-gateway", "dc1"), ADMIN, fetch),
            id="mesh gateway",
        ),
    ],
)
def test_envoy_accepts_it_on_files(
    tmp_path: Path, envoy: Path, write: Callable[[FetchFiles, SecretFiles], dict[str, Any]]
) -> None:
    identity = CertificateAuthority(tmp_path, "mesh.example").issue("s2", "dc1")
    write_response(tmp_path / "cds.pb", [])
    write_response(tmp_path / "lds.pb", [])
    secrets = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
    assert validate(write(FetchFiles(str(tmp_path)), secrets), tmp_path, envoy) == ""


@pytest.mark.envoy
@pytest.mark.parametrize("envoy", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
@pytest.mark.parametrize(
    "fetch",
    [
        pytest.param(lambda tls: FetchHttp(Address("127.0.0.1", 8421)), id="HTTP"),
        pytest.param(lambda tls: FetchHttp(Address("::1", 8421), refresh_delay_ms=1500), id="HTTP on IPv6"),
        pytest.param(lambda tls: FetchHttp(UnixSocket("/run/pointsman.sock")), id="HTTP on a unix socket"),
        pytest.param(lambda tls: FetchHttp(Address("192.0.2.1", 8421), tls), id="HTTP with TLS, to a SPIFFE id"),
        pytest.param(
            lambda tls: FetchHttp(Address("192.0.2.1", 8421), replace(tls, expected="pointsman.example")),
            id="HTTP with TLS, to a name",
        ),
    ],
)
def test_envoy_accepts_it_over_http(tmp_path: Path, envoy: Path, fetch: Callable[[AdapterTls], FetchHttp]) -> None:
    identity = CertificateAuthority(tmp_path, "mesh.example").issue("s2", "dc1")
    secrets = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
    way = fetch(AdapterTls(secrets, "spiffe://mesh.example/pointsman"))
    assert validate(sidecar_bootstrap(NODE, ADMIN, way, secrets=secrets, host=PUBLIC), tmp_path, envoy) == ""
    assert validate(gateway_bootstrap(Node("gateway-dc1", "mesh-gateway", "dc1"), ADMIN, way), tmp_path, envoy) == ""


@pytest.mark.envoy
@pytest.mark.parametrize("envoy", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_envoy_accepts_it_from_the_function(tmp_path: Path, envoy: Path) -> None:
    identity = CertificateAuthority(tmp_path, "mesh.example").issue("s2", "dc1")
    secrets = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
    way = replace(FUNCTION, ca_bundle=str(identity.ca), refresh_delay_ms=2500)
    assert validate(sidecar_bootstrap(NODE, ADMIN, way, secrets=secrets, host=PUBLIC), tmp_path, envoy) == ""
    assert validate(gateway_bootstrap(Node("gateway-dc1", "mesh-gateway", "dc1"), ADMIN, way), tmp_path, envoy) == ""


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: bootstrap(node=replace(NODE, id="../s1")), "sidecar '../s1': id: '../s1' must be letters"),
        (lambda: bootstrap(node=replace(NODE, service="S2")), "service: 'S2' must be a lower-case DNS label"),
        (lambda: bootstrap(node=replace(NODE, datacenter="dc/1")), "datacenter: 'dc/1' must be"),
        (lambda: bootstrap(node=replace(NODE, namespace="")), "namespace: '' must be"),
        (lambda: bootstrap(admin=Address("localhost", 19000)), "admin: 'localhost' must be an IP address"),
        (lambda: bootstrap(admin=Address("127.0.0.1", 0)), "admin: port 0 must be between 1 and 65535"),
        (lambda: bootstrap(fetch=FetchFiles("files/dc1")), "files: 'files/dc1' must be an absolute path"),
        (lambda: bootstrap(fetch=FetchFiles("/files/../dc1")), "files: '/files/../dc1' must be an absolute path"),
        (lambda: bootstrap(fetch=FetchHttp(Address("xds", 1))), "HTTP: 'xds' must be an IP address"),
        (
            lambda: bootstrap(fetch=FetchHttp(Address("192.0.2.1", 1))),
            "not a loopback address: the adapter there wants",
        ),
        (lambda: bootstrap(fetch=FetchHttp(UnixSocket("xds.sock"))), "HTTP: 'xds.sock' must be an absolute path"),
        (lambda: bootstrap(fetch=FetchHttp(UnixSocket("/x"), refresh_delay_ms=1)), "refresh delay: 1 ms"),
        (lambda: bootstrap(fetch=FetchHttp(UnixSocket("/x"), request_timeout_ms=10)), "request timeout: 10 ms"),
        (
            lambda: bootstrap(fetch=FetchHttp(UnixSocket("/x"), AdapterTls(SECRETS, ""))),
            "TLS: the adapter's name, a SAN of its certificate, must not be empty",
        ),
        (
            lambda: bootstrap(fetch=replace(FUNCTION, host="https://x")),
            "function URL: 'https://x' is not the host of one",
        ),
        (lambda: bootstrap(fetch=replace(FUNCTION, region="Frankfurt")), "region: 'Frankfurt' is not an AWS region"),
        (
            lambda: bootstrap(fetch=replace(FUNCTION, ca_bundle="ca.pem")),
            "CA bundle: 'ca.pem' must be an absolute path",
        ),
        (
            lambda: bootstrap(fetch=replace(FUNCTION, refresh_delay_ms=500)),
            "refresh delay: 500 ms: every poll costs money",
        ),
        (lambda: bootstrap(fetch=replace(FUNCTION, request_timeout_ms=500)), "request timeout: 500 ms: a function may"),
        (lambda: bootstrap(secrets=replace(SECRETS, ca="ca.pem")), "CA: 'ca.pem' must be an absolute path"),
        (lambda: bootstrap(host=replace(PUBLIC, public=IpPort("", 1))), "public address: '' must be an IP"),
        (lambda: bootstrap(host=replace(PUBLIC, app=IpPort("app", 1))), "local service address: 'app' must"),
        (lambda: bootstrap(host=replace(PUBLIC, access_log="a.log")), "access log: 'a.log' must be an absolute path"),
        (
            lambda: gateway_bootstrap(Node("", "mesh-gateway", "dc1"), ADMIN, FILES),
            "bootstrap of the mesh gateway '': id: '' must be letters",
        ),
    ],
)
def test_bad_input_is_refused_with_the_field_and_the_reason(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        wrong()
    assert said in str(refused.value)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        bootstrap(node=Node("", "", ""), admin=Address("", 0))
    assert [problem.field for problem in refused.value.problems] == ["id", "service", "datacenter", "admin", "admin"]


@pytest.mark.parametrize(
    "host", [PUBLIC, EVERYTHING, Host(IpPort("::", 20000), IpPort("fe80::1", 8080), "/a b/c.log")], ids=repr
)
def test_the_node_says_where_a_sidecar_listens_and_nothing_static_listens(host: Host) -> None:
    made = bootstrap(host=host)
    assert read_node(made["node"]) == Asking(SidecarId("dc1", "default", "s2"), None, host)
    assert made["static_resources"].keys() == {"secrets"}


@pytest.mark.envoy
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_two_envoys_never_share_a_port(tmp_path: Path, binary: Path) -> None:
    """A sidecar's own port, one of its upstreams', a gateway's: the second Envoy says that it is taken."""
    identity = CertificateAuthority(tmp_path, "mesh.example").issue("s2", "dc1")
    secrets = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
    with Ports() as ports, ExitStack() as running:
        public, upstream, gateway = (ports.take("127.0.0.1") for _ in range(3))
        own = GatewayManifest(1, "127.0.0.1", gateway, 0, "")
        shared = GatewaysManifest(1, "mesh.example", (), (), ())
        listeners = [
            *(made for _, made in chains_and_listeners([], upstream_at(upstream))),
            *map(Listener.FromString, gateway_listeners(own, shared)),
            *own_listeners(
                Inbound("mesh.example"), Host(IpPort("127.0.0.1", public), PUBLIC.app), secrets_of(over_ads())
            ),
        ]

        def sidecar(name: str) -> Envoy:
            write_response(tmp_path / name / "cds.pb", [])
            write_response(tmp_path / name / "lds.pb", listeners)
            made = bootstrap(
                admin=Address("127.0.0.1", ports.take("127.0.0.1")),
                fetch=FetchFiles(str(tmp_path / name)),
                secrets=secrets,
            )
            envoy = Envoy(name, made, tmp_path, binary)
            running.callback(envoy.stop)
            envoy.start()
            return envoy

        first = sidecar("first")
        first.wait_ready()
        rejected = "listener_manager.lds.update_rejected"
        assert first.stats([rejected]) == {rejected: 0}
        other = sidecar("other")

        def refused() -> bool:
            return (
                other.stats(["listener_manager.lds.update_rejected"]).get("listener_manager.lds.update_rejected") == 1
            )

        other.wait_ready()
        wait_until(refused, "the listeners on taken ports to be rejected", children=[first, other])
        said = (tmp_path / "other.err").read_text()
        assert re.search(rf"cannot bind '127.0.0.1:{upstream}'.*in use", said)
        assert re.search(rf"cannot bind '127.0.0.1:{gateway}'.*in use", said)
        assert re.search(rf"cannot bind '127.0.0.1:{public}'.*in use", said)


def bootstrap(
    node: Node = NODE,
    admin: Address = ADMIN,
    fetch: Fetch = FILES,
    secrets: SecretFiles = SECRETS,
    host: Host = PUBLIC,
) -> dict[str, Any]:
    return sidecar_bootstrap(node, admin, fetch, secrets=secrets, host=host)
