"""The server for the REST adapter: the operators' pages, where it listens, and which clients it accepts."""

import http.client
import socket
import ssl
from pathlib import Path

import pytest
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.serve.http import HttpServer
from pointsman.serve.listen import Listen
from pointsman.serve.tls import ServerTls, TlsFiles

from tests.adapter.doubles import Remote
from tests.adapter.node import manifest
from tests.adapter.published import TRUST_DOMAIN, Publisher
from tests.adapter.rest import Adapter, Envoy
from tests.fleet.ca import CertificateAuthority


def test_operators_are_told_what_goes_on(store: Remote, published: Publisher) -> None:
    with Adapter(store) as adapter:
        envoy = Envoy(adapter)
        envoy.ask("clusters")
        pages = {
            page: envoy.post(f"/{page}", b"", method="GET") for page in ("healthz", "readyz", "metrics", "config_dump")
        }
        assert {page.status for page in pages.values()} == {200}
        assert b'pointsman_deliveries_total{kind="clusters",way="rest"} 1.0' in pages["metrics"].body
        (proxy,) = pages["config_dump"].json["proxies"]
        assert (proxy["proxy"], proxy["sni"]) == ("dc1/sidecar/default/s1", "with the endpoints")
        assert len(proxy["clusters"]["resources"]) == 2
        assert envoy.post("/v3/discovery:clusters", b"", method="GET").status == 405
        assert envoy.post("/v3/discovery:secrets", b"").status == 404


def test_a_unix_socket_is_taken_over_from_the_dead_and_not_from_the_living(
    store: Remote, published: Publisher, tmp_path: Path
) -> None:
    path = tmp_path / "xds.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Adapter(store, f"unix:{path}"):
        assert Envoy(path).ask("clusters").status == 200
        with pytest.raises(PointsmanError, match="another process listens there"):
            Listen.read(f"unix:{path}", "--unix").bind("--unix")
    assert not path.exists()


@pytest.mark.parametrize(
    "text",
    [
        "localhost:1",
        "127.0.0.1",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "127.0.0.1:" + "9" * 5000,
        "unix:",
        "unix:" + "x" * 120,
    ],
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--listen"):
        Listen.read(text, "--listen")


def test_over_a_network_an_envoy_fetches_only_the_proxy_that_its_certificate_names(
    store: Remote, published: Publisher, tmp_path: Path
) -> None:
    published.manifest("manifests/dc1/sidecar/default/s9", manifest("s3"))
    authority = CertificateAuthority(tmp_path, TRUST_DOMAIN)
    own = authority.issue("pointsman", "dc1")
    tls = ServerTls(TlsFiles(own.certificate, own.private_key, own.ca))
    with pytest.raises(InvalidInput, match=r"not a loopback address.*--tls-cert"):
        HttpServer(lambda *_: None, Listen.read("0.0.0.0:0", "--listen"))  # type: ignore[arg-type, return-value]

    def client(service: str | None, datacenter: str = "dc1") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(own.ca))
        context.check_hostname = False
        if service:
            identity = authority.issue(service, datacenter)
            context.load_cert_chain(identity.certificate, identity.private_key)
        return context

    with Adapter(store, tls=tls, trust_domain=TRUST_DOMAIN) as adapter:
        assert Envoy(adapter, tls=client("s1")).ask("clusters").status == 200
        for service, datacenter in (("s9", "dc1"), ("s1", "dc2")):
            refused = Envoy(adapter, tls=client(service, datacenter)).ask("clusters")
            assert refused.status == 403
            assert "certificate does not name the sidecar of default/s1 in dc1" in refused.json["error"]
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            Envoy(adapter, tls=client(None)).ask("clusters")
        # A new certificate is taken up while it runs.
        other = CertificateAuthority(tmp_path / "other", TRUST_DOMAIN).issue("pointsman", "dc1")
        own.certificate.write_bytes(other.certificate.read_bytes())
        own.private_key.write_bytes(other.private_key.read_bytes())
        tls.refresh()
        with pytest.raises(ssl.SSLCertVerificationError):
            Envoy(adapter, tls=client("s1")).ask("clusters")


def test_a_homemade_ca_without_key_identifiers_is_as_good(store: Remote, published: Publisher, tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, TRUST_DOMAIN, key_identifiers=False)
    own, envoys = authority.issue("pointsman", "dc1"), authority.issue("s1", "dc1")
    # Envoy does not ask for key identifiers, and Python's own default context does from 3.13 on.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(own.ca)
    context.load_cert_chain(envoys.certificate, envoys.private_key)
    tls = ServerTls(TlsFiles(own.certificate, own.private_key, own.ca))
    with Adapter(store, tls=tls, trust_domain=TRUST_DOMAIN) as adapter:
        assert Envoy(adapter, tls=context).ask("clusters").status == 200
