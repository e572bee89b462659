"""Both Envoys start on every bootstrap that fetches over gRPC, and what would keep them from it is refused."""

from pathlib import Path

import pytest
from pointsman.bootstrap.document import (
    AdapterTls,
    Address,
    FetchGrpc,
    Host,
    HostName,
    IpPort,
    Node,
    SecretFiles,
    UnixSocket,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.model.errors import InvalidInput

from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, validate

ADMIN = Address("127.0.0.1", 19000)
GATEWAY = Node("gateway-1", "mesh-gateway", "dc1")
TLS = AdapterTls(SecretFiles("/etc/identity.pem", "/etc/identity.key", "/etc/ca.pem"), "spiffe://mesh/adapter")


@pytest.mark.envoy
@pytest.mark.parametrize("envoy", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
@pytest.mark.parametrize(
    ("at", "expected", "delta"),
    [
        (Address("127.0.0.1", 8422), None, True),
        (Address("127.0.0.1", 8422), None, False),
        (UnixSocket("/run/pointsman.sock"), None, True),
        (Address("10.0.0.1", 8422), "spiffe://mesh.example/ns/default/dc/dc1/svc/pointsman", True),
        (Address("10.0.0.1", 8422), "pointsman.example", True),
        # Several, to each by its own name.
        (HostName("xds.example", 8422), "", True),
    ],
)
def test_envoy_accepts_it(
    tmp_path: Path, envoy: Path, at: Address | HostName | UnixSocket, expected: str | None, delta: bool
) -> None:
    identity = CertificateAuthority(tmp_path, "mesh.example").issue("s1", "dc1")
    files = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
    others = (Address("10.0.0.2", 8422), HostName("xds.dc3.example", 8422)) if expected == "" else ()
    fetch = FetchGrpc(at, AdapterTls(files, expected) if expected is not None else None, delta, others)
    public = Host(IpPort("127.0.0.1", 20000), IpPort("127.0.0.1", 8080))
    bootstrap = sidecar_bootstrap(Node("s1-1", "s1", "dc1"), ADMIN, fetch, secrets=files, host=public)
    assert validate(bootstrap, tmp_path, envoy) == ""
    assert validate(gateway_bootstrap(GATEWAY, ADMIN, fetch), tmp_path, envoy) == ""


@pytest.mark.parametrize(
    ("fetch", "said"),
    [
        (FetchGrpc(Address("adapter", 8422)), "gRPC: 'adapter' must be an IP address"),
        (FetchGrpc(Address("127.0.0.1", 0)), "gRPC: port 0 must be between"),
        (FetchGrpc(UnixSocket("pointsman.sock")), "gRPC: 'pointsman.sock' must be an absolute path"),
        (FetchGrpc(Address("10.0.0.1", 8422)), "'10.0.0.1' is not a loopback address: the adapter there wants TLS"),
        (FetchGrpc(HostName("adapter", 8422)), "'adapter' is not a loopback address: the adapter there wants TLS"),
        (FetchGrpc(HostName("no name", 8422), TLS), "gRPC: 'no name' must be a DNS name"),
        (FetchGrpc(HostName(".".join(["a" * 63] * 4), 8422), TLS), "must be a DNS name"),
        (FetchGrpc(Address("127.0.0.1", 1), others=(Address("127.0.0.1", 1),)), "gRPC: 127.0.0.1:1 is there twice"),
        (FetchGrpc(UnixSocket("/a"), others=(HostName("localhost", 1),)), "a name and a unix socket cannot be in one"),
        (
            FetchGrpc(Address("127.0.0.1", 1), others=tuple(Address("127.0.0.1", 2 + each) for each in range(16))),
            "gRPC: 17 addresses; 16 are the most",
        ),
        (
            FetchGrpc(Address("10.0.0.1", 8422), AdapterTls(SecretFiles("a.pem", "/a.key", "/ca.pem"), "a")),
            "certificate: 'a.pem' must be an absolute path",
        ),
    ],
)
def test_bad_input_is_refused_with_the_field_and_the_reason(fetch: FetchGrpc, said: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        gateway_bootstrap(GATEWAY, ADMIN, fetch)
    assert said in str(refused.value)
