"""`make deploy-check` as one of the long tests, and what it does to the template."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.aws.template import source
from tests.deploy.deployment import SAM
from tests.deploy.differences import ADDED, STRIPPED, adapted
from tests.deploy.emulator import ENVIRONMENT
from tests.fleet.process import REPOSITORY, Child, FleetError, wait_until

_MISSING = [str(each) for each in (SAM, ENVIRONMENT) if not (each / "ready").exists()]

installed = pytest.mark.skipif(bool(_MISSING), reason=f"{' and '.join(_MISSING)} not made: run make deploy-check once")

CHECK_SECONDS = 1800.0


def deploy_check(directory: Path) -> Child:
    command = [sys.executable, "-m", "tests.deploy", "--directory", directory / "files"]
    return Child("deploy-check", command, directory)


@installed
@pytest.mark.soak
@pytest.mark.envoy
def test_a_stack_is_deployed_used_and_deleted_on_an_emulator_of_aws(tmp_path: Path) -> None:
    with deploy_check(tmp_path) as check:
        code = check.wait(CHECK_SECONDS)
        assert code == 0, check.tail(80)
        print(check.out.read_text())
        assert processes(tmp_path) == {}


@installed
@pytest.mark.soak
def test_nothing_goes_on_after_ctrl_c(tmp_path: Path) -> None:
    with deploy_check(tmp_path) as check:
        wait_until(lambda: b"sam deploy" in check.out.read_bytes(), "SAM", children=[check], timeout=CHECK_SECONDS)
        wait_until(lambda: len(processes(tmp_path)) >= 2, "the emulator and SAM", children=[check], timeout=60.0)
        os.kill(check.pid, signal.SIGINT)
        assert check.wait(CHECK_SECONDS) == 1
        assert check.err.read_text() == "deploy-check: interrupted\n"
        assert processes(tmp_path) == {}


def processes(directory: Path) -> dict[int, str]:
    """The processes that know of `directory` from their command lines, environments or working directories, but the
    check's own."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            known = [words, (process / "environ").read_bytes().decode(errors="replace"), os.readlink(process / "cwd")]
        except OSError:
            continue  # it has ended, or is not ours to look at
        if "tests.deploy" not in words and any(str(directory / "files") in each for each in known):
            found[int(process.name)] = words
    return found


def test_the_emulator_is_given_the_template_without_what_is_named_alone() -> None:
    template, given = source(), adapted(source())
    assert given["Resources"].keys() == template["Resources"].keys() - {
        "BusPolicy",
        "ThrottlesAlarm",
        "UndeliveredAlarm",
    }
    assert given.keys() == template.keys()
    changed = {name for name, each in given["Resources"].items() if each != template["Resources"][name]}
    publishing = {name for name, each in given["Resources"].items() if "sns:PublishBatch" in str(each)}
    assert "IngestRole" in publishing
    assert changed == {"Ingest"} | publishing
    (ingest, before) = (each["Resources"]["Ingest"]["Properties"]["Events"]["Records"] for each in (given, template))
    assert before["Properties"].keys() - ingest["Properties"].keys() == {"ScalingConfig"}


def test_what_the_template_has_no_more_is_not_stripped_from_it_silently() -> None:
    template = source()
    with pytest.raises(FleetError, match=r"Resources\.BusPolicy: the template has it no more"):
        adapted({"Resources": {name: each for name, each in template["Resources"].items() if name != "BusPolicy"}})


def test_the_page_says_what_is_changed_for_the_emulator() -> None:
    _, _, after = (REPOSITORY / "docs/aws.md").read_text().partition("\n## Deployed to an emulator\n")
    section = after.partition("\n## ")[0]
    for each in STRIPPED:
        assert f"`{each.where.rpartition('.')[2]}`" in section, each.where
    for added in ADDED:
        assert f"`{added.action}` is allowed beside `{added.beside}`" in section
    for name, lock in (("ministack", "tests/deploy/ministack.lock"), ("aws-sam-cli", "infra/sam.lock")):
        (version,) = re.findall(rf"^{name}==(\S+)", (REPOSITORY / lock).read_text(), re.MULTILINE)
        assert f"{name.removeprefix('aws-').removesuffix('-cli')} {version}".lower() in section.lower()
