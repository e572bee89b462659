"""What is built is whole, and knows what it was made from."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.fleet.process import REPOSITORY
from tests.fresh_clone import fresh_clone, git

VERSION = version("pointsman")
PACKAGE = "layers/pointsman/python/pointsman"


def build(kind: str, directory: Path, out: Path) -> Path:
    """What setuptools builds, as pip asks for it: a `wheel` or an `sdist`."""
    program = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, timeout=300, check=True
    )
    return out / done.stdout.splitlines()[-1]


def said_version(*path: Path) -> str:
    """The end of what `pointsman --version` says where `path` comes first."""
    program = (
        f"import sys; sys.path[:0] = {[str(each) for each in path]!r}; from pointsman.cli.main import main; main()"
    )
    command = [sys.executable, "-c", program, "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    name, number, word, commit = done.stdout.split()
    assert (name, number, word) == ("pointsman", f"{VERSION},", "commit")
    return commit


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of its own, with one commit."""
    directory = fresh_clone(tmp_path_factory.mktemp("packaging") / "pointsman")
    git(directory, "init", "-q")
    git(directory, "add", "-A")
    git(directory, "commit", "-qm", "Everything")
    return directory


@pytest.fixture(scope="module")
def sdist(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", repository, folder)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"pointsman-{VERSION}"


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the source distribution, where git is not available, unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("wheel", sdist, folder)) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_source_distribution_has_every_file_of_the_repository(repository: Path, sdist: Path) -> None:
    tracked = git(repository, "ls-files").splitlines()
    assert [name for name in tracked if (sdist / name).read_bytes() != (repository / name).read_bytes()] == []
    made = {str(path.relative_to(sdist)) for path in sdist.rglob("*") if path.is_file()} - set(tracked)
    assert {name for name in made if ".egg-info/" not in name} == {"PKG-INFO", "setup.cfg", f"{PACKAGE}/revision.txt"}


def test_a_wheel_has_every_file_of_the_library(repository: Path, wheel: Path) -> None:
    tracked = [Path(name) for name in git(repository, "ls-files", PACKAGE).splitlines()]
    wanted = {str(name.relative_to(Path(PACKAGE).parent)) for name in tracked}
    found = {str(path.relative_to(wheel)) for path in (wheel / "pointsman").rglob("*") if path.is_file()}
    assert found == wanted | {"pointsman/revision.txt"}
    assert {path.name for path in wheel.iterdir()} == {"pointsman", f"pointsman-{VERSION}.dist-info"}


def test_a_wheel_says_what_it_is(wheel: Path) -> None:
    about = wheel / f"pointsman-{VERSION}.dist-info"
    assert (about / "licenses/LICENSE").read_bytes() == (REPOSITORY / "LICENSE").read_bytes()
    metadata: Message = message_from_string((about / "METADATA").read_text())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (REPOSITORY / "README.md").read_text()
    assert {"aws", "demo"} <= set(metadata.get_all("Provides-Extra", []))
    assert "pointsman = pointsman.cli.main:main" in (about / "entry_points.txt").read_text()


def test_the_version_names_the_commit(repository: Path, wheel: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "--short=12", "HEAD")
    checkout = repository / "layers/pointsman/python"
    assert (said_version(wheel), said_version(checkout)) == (commit, commit)
    # What is not committed shows.
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(repository), str(clone))
    (clone / "LICENSE").write_text("mine")
    assert said_version(clone / "layers/pointsman/python") == f"{commit}+"


def test_a_version_does_not_name_the_commit_of_somebody_elses_repository(repository: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "Something else")
    other = fresh_clone(tmp_path / "vendored")
    assert said_version(other / "layers/pointsman/python") == "unknown"
    assert build("wheel", other, tmp_path).exists()
    assert (other / "build/lib/pointsman/revision.txt").read_text() == "unknown\n"
