"""One `up` for all tests of the page."""

import json
from collections.abc import Iterator

import pytest
from pointsman.cli.main import run

from tests.fleet.ca import CertificateAuthority
from tests.fleet.control_plane import Pointsman
from tests.page.mesh import HOSTILE, MESH, fail_over


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pointsman]:
    """A real `up`, also for other machines: web has failed over to dc2, and api has nobody. A test may change this for
    as long as it runs."""
    directory = tmp_path_factory.mktemp("page")
    authority = CertificateAuthority(directory / "ca", "td")
    identity = authority.issue_as("door", [(7, bytes([127, 0, 0, 1]))])
    door = ["--remote", "127.0.0.1:0", "--tls-cert", identity.certificate, "--tls-key", identity.private_key]
    with Pointsman(directory, "td", more=[*door, "--client-ca", authority.file]) as pointsman:
        config = directory / "config.json"
        config.write_text(json.dumps(MESH))
        assert run(["apply", "--url", pointsman.url, "--message", HOSTILE, str(config)]) == 0
        fail_over(pointsman)
        yield pointsman
        assert "Traceback" not in pointsman.tail()
