"""A missing store: which commands create one, and which report that it is missing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pointsman.cli.main import group, run

from tests.cli.test_cli import RESOLVER, event

POINTSMAN = Path(sys.executable).parent / "pointsman"

REFUSE: dict[str, list[str]] = {
    "adapter files": ["adapter", "files", "--files", "envoys"],
    "adapter grpc": ["adapter", "grpc", "--unix", "xds.sock"],
    "adapter http": ["adapter", "http", "--unix", "xds.sock"],
    "backup": ["backup", "copy.db"],
    "bootstrap": ["bootstrap", "s1", "--dc", "dc1", "--files", "envoys"],
    "config log": ["config", "log"],
    "delete": ["delete", "service-resolver", "s2"],
    "diff": ["diff"],
    "doctor": ["doctor"],
    "drain": ["drain", "dc1", "--for", "1h", "--reason", "works"],
    "drill": ["drill", "dc1", "--for", "1s"],
    "emit": ["emit", "event.json"],
    "end": ["end", "d-1"],
    "explain": ["explain", "s2", "--dc", "dc1"],
    "freeze": ["freeze", "--for", "1h", "--reason", "works"],
    "get": ["get", "service-resolver", "s2"],
    "history": ["history"],
    "instances": ["instances", "s2"],
    "list": ["list"],
    "orders": ["orders"],
    "page": ["page"],
    "pin": ["pin", "s2", "--to", "dc2", "--for", "1h", "--reason", "works"],
    "proxies": ["proxies"],
    "reconcile": ["reconcile"],
    "recover": ["recover"],
    "rollback": ["rollback", "1"],
    "shadow": ["shadow", "s1", "--dc", "dc1", "--dump", "event.json"],
    "source forget": ["source", "forget", "agent/host-7"],
    "source list": ["source", "list"],
    "status": ["status"],
    "token list": ["token", "list"],
    "token make": ["token", "make", "host-7", "--role", "report"],
    "token revoke": ["token", "revoke", "host-7"],
    "whatif": ["whatif", "--down", "dc1"],
}
MAKE = {"apply", "up"}


def commands_of(name: str, command: click.Command) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {name: command}
    context = click.Context(command)
    out: dict[str, click.Command] = {}
    for below in command.list_commands(context):
        found = command.get_command(context, below)
        assert found is not None
        out |= commands_of(f"{name} {below}".strip(), found)
    return out


def test_every_command_on_a_store_has_its_place_in_one_of_the_tables() -> None:
    with_store = {
        name for name, command in commands_of("", group).items() if any(each.name == "store" for each in command.params)
    }
    assert with_store == set(REFUSE) | MAKE


@pytest.mark.parametrize("name", REFUSE)
def test_what_reads_a_store_refuses_one_that_is_not_there_and_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("event.json").write_text(json.dumps(event("dc1", "passing", 1)))
    assert run([*REFUSE[name], "--store", "typo.db"]) == 1
    said = capsys.readouterr()
    assert f"there is no store at {tmp_path}/typo.db: `pointsman up` or `pointsman apply` makes one" in said.err
    assert (said.err.count("\n"), said.out) == (1, "")
    assert [path.name for path in tmp_path.iterdir() if "envoys" not in path.name] == ["event.json"]


def test_what_is_only_validated_or_refused_makes_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s2.hcl").write_text(RESOLVER)
    assert run(["apply", "--dry-run", "--store", "typo.db", "s2.hcl"]) == 0
    said = capsys.readouterr()
    assert said.out == "valid: 1 document, a change; nothing was written\n"
    assert "there is no store at" in said.err
    Path("s2.hcl").write_text(RESOLVER + 'DefaultSubset = "no such"')
    for option in (["--dry-run"], []):
        assert run(["apply", *option, "--store", "typo.db", "s2.hcl"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s2.hcl"]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_apply_and_up_make_one_for_their_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s2.hcl").write_text(RESOLVER)
    before = os.umask(mask)
    try:
        assert CliRunner().invoke(group, ["apply", "--store", "made/pointsman.db", "s2.hcl"]).exit_code == 0
        up = [POINTSMAN, "up", "--store", "up/pointsman.db", "--listen", "127.0.0.1:0"]
        with subprocess.Popen(up, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"]
            process.send_signal(signal.SIGTERM)
    finally:
        os.umask(before)
    for path in (Path("made"), Path("up")):
        assert path.stat().st_mode & 0o777 == 0o700
        assert (path / "pointsman.db").stat().st_mode & 0o777 == 0o600
