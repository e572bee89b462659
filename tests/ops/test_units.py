"""The units for systemd: systemd understands them, and Pointsman understands what they start it with."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from pointsman.cli.main import group

from tests.fleet.process import REPOSITORY

UNITS = REPOSITORY / "ops" / "systemd"
NAMES = {"pointsman-up.service": "", "pointsman-adapter@.service": "grpc", "pointsman-agent.service": ""}
BINARY = "/opt/pointsman/bin/pointsman"


def example(text: str) -> dict[str, str]:
    """The variables that a unit's first comment sets, as systemd reads an EnvironmentFile."""
    comment = "\n".join(line[1:].strip() for line in text.partition("[Unit]")[0].splitlines())
    found = re.findall(r"^([A-Z_]+)=(.*)$", comment.replace("\\\n", " "), re.MULTILINE)
    return dict(found)


def command(text: str, instance: str) -> list[str]:
    """The command line that systemd would run, with the variables of the example."""
    (line,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    words: list[str] = []
    variables = example(text)
    for word in line.removeprefix("ExecStart=").replace("%i", instance).split():
        if word == "$OPTIONS":
            words += shlex.split(variables["OPTIONS"])
        else:
            words.append(re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], word))
    return words


def test_there_are_no_other_units() -> None:
    assert {path.name for path in UNITS.glob("*.service")} == NAMES.keys()


@pytest.mark.parametrize("name", NAMES)
def test_pointsman_understands_the_command_of_a_unit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    words = command((UNITS / name).read_text(), NAMES[name])
    assert words[0] == BINARY
    found: click.Command = group
    context = click.Context(found)
    rest = words[1:]
    while isinstance(found, click.Group):
        chosen = found.get_command(context, rest[0])
        assert chosen is not None, rest[0]
        found, rest = chosen, rest[1:]
    given = found.make_context(words[1], list(rest)).params
    assert given.get("store") or given.get("places"), "a unit that knows neither its store nor whom it tells"


@pytest.mark.parametrize("name", NAMES)
def test_systemd_understands_a_unit(name: str, tmp_path: Path) -> None:
    text = (UNITS / name).read_text()
    for needed in ("Type=notify", "WatchdogSec=", "Restart=always", "StateDirectory=", "ProtectSystem=strict"):
        assert f"\n{needed}" in text
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    unit = tmp_path / name.replace("@.", f"@{NAMES[name]}.")
    # It looks whether the binary is there.
    binary = Path(sys.executable).parent / "pointsman"
    unit.with_name(name).write_text(text.replace(BINARY, str(binary)))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
