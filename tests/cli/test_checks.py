"""`doctor` finds Envoys that lack something, clocks that differ and certificates that end soon."""

from pathlib import Path

import pytest
from pointsman.cli.checks import ENDS_WITHIN_SECONDS, MOST_CLOCK_SECONDS, MOST_ENVOYS, certificate, clock, envoys
from pointsman.cli.main import run
from pointsman.model.seen import Lack, Seen, SeenEnvoy, SeenProxy, Why
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.seen import write_seen
from pointsman.store.sqlite import SQLiteStore

from tests.fleet.ca import CertificateAuthority
from tests.pipeline.meshes import engine_on, resolver, sidecar

MOMENT, THEN = "2026-01-01T12:00:00.000Z", 1767268800.0


def test_doctor_names_who_lacks_what_and_a_certificate_that_is_no_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "pointsman.db")
    store = SQLiteStore(where, create=True)
    configure(engine_on(store), parse_documents([resolver("s2"), sidecar("s1", "s2")]))
    lack = Lack(Why.REJECTED, "listeners", "s2", "no such filter\x1b[2J", MOMENT)
    ill = [SeenEnvoy(f"s8-{number}", "ads", MOMENT, (lack,)) for number in range(MOST_ENVOYS + 2)]
    proxy = SeenProxy("dc1/sidecar/default/s8", "", "", "", (), tuple(ill))
    write_seen(store, "one", Seen("host-7", MOMENT, (proxy,)), "n", None)
    store.close()
    assert run(["doctor", "--store", where]) == 1
    said = capsys.readouterr().out
    assert f"envoy: {where}: dc1/sidecar/default/s8: s8-0 is rejecting" in said
    assert "says host-7: no such filter [2J\n    correct the config" in said
    assert f"envoy: {where}: 2 more Envoys lack something" in said
    short = CertificateAuthority(tmp_path / "ca", "example.internal").issue("s1", "dc1").certificate
    for path, found in (
        (short, f"certificate: {short}: it ends in "),
        (tmp_path / "nosuch", "has no certificate (PEM), or cannot be read"),
    ):
        assert run(["doctor", "--store", where, "--cert-file", str(path)]) == 1
        told = capsys.readouterr()
        assert found in told.out + told.err


def test_what_is_a_finding_and_what_is_not() -> None:
    assert list(clock("up", {"now": MOMENT}, THEN + MOST_CLOCK_SECONDS)) == []
    (found,) = clock("up", {"now": MOMENT}, THEN + MOST_CLOCK_SECONDS + 1)
    assert found.says == "its clock is 31s behind the one of this machine"
    end = Path("cert.pem")
    assert list(certificate(end, THEN + ENDS_WITHIN_SECONDS, THEN)) == []
    assert [each.says for each in certificate(end, THEN + ENDS_WITHIN_SECONDS - 1, THEN)] == ["it ends in 14 days"]
    assert [each.says for each in certificate(end, THEN - 60, THEN)] == ["it ended 1m ago"]
    current = {"state": "current"}
    assert list(envoys("up", {"envoys": [current]})) == []
