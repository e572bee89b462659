"""Real Envoys over ADS: who is who by certificates, and many clusters."""

from pathlib import Path

import pytest
from pointsman.bootstrap.document import (
    AdapterTls,
    Address,
    FetchGrpc,
    SecretFiles,
)
from pointsman.serve.tls import TlsFiles

from tests.adapter.doubles import Remote
from tests.adapter.fetching import sidecar
from tests.adapter.published import TRUST_DOMAIN, Publisher
from tests.adapter.streams import Adapter
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy
from tests.fleet.process import Ports

pytestmark = pytest.mark.envoy


@pytest.mark.soak
@pytest.mark.parametrize("binary", [ENVOY_1_40, ENVOY_1_39], ids=["1.40", "1.39"])
def test_an_envoy_and_an_adapter_know_each_other_by_their_certificates(
    binary: Path, store: Remote, published: Publisher, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN)
    own, identity = authority.issue("adapter", "dc1"), authority.issue("s1", "dc1")
    with Ports() as ports:
        tls = TlsFiles(own.certificate, own.private_key, own.ca)
        with Adapter(store, tls=tls) as adapter:
            ip, _, port = adapter.server.address.rpartition(":")
            files = SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca))
            expected = AdapterTls(files, f"spiffe://{TRUST_DOMAIN}/ns/default/dc/dc1/svc/adapter")
            bootstrap = sidecar(FetchGrpc(Address(ip, int(port)), expected), authority, ports)
            with Envoy("s1", bootstrap, tmp_path, binary) as envoy:
                envoy.wait_ready()
                assert set(_timeouts(envoy)) == {"s2", "s3"}
                (stream,) = adapter.adapter.config_dump()["streams"]
                assert (stream["node"], stream["proxy"]) == ("s1-1", "dc1/sidecar/default/s1")


def _timeouts(envoy: Envoy) -> dict[str, str]:
    """By service, the connect timeouts of the clusters that an Envoy has in force."""
    (dump,) = (each for each in envoy.config_dump() if each["@type"].endswith("ClustersConfigDump"))
    found = (each["cluster"] for each in dump["dynamic_active_clusters"])
    return {each["name"].partition(".")[0]: each["connect_timeout"] for each in found}
