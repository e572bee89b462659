"""Every command that takes a store or a URL says the same either way."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.main import group, run

from tests.cli.test_no_store import commands_of
from tests.fleet.control_plane import Pointsman
from tests.pipeline.meshes import gateway, instance, proxy_defaults, resolver, sidecar

WHY = ["--for", "1h", "--reason", "works"]

TYPED: list[list[str]] = [
    ["list"],
    ["apply", "--dry-run", "mesh.json"],
    ["apply", "mesh.json", "-m", "a beginning"],
    ["apply", "mesh.json"],
    ["apply", "broken.json"],
    ["apply", "--owner", "team-a", "owned.json"],
    ["get", "service-resolver", "s2"],
    ["get", "service-resolver", "nosuch"],
    ["get", "registration", "s1", "--dc", "dc1"],
    ["get", "registration", "gateway/gateway-dc1", "--dc", "dc1"],
    ["get", "registration", "s1"],
    ["list"],
    ["list", "service-resolver"],
    ["list", "--json"],
    ["emit", "event1.json"],
    ["emit", "event2.json"],
    ["emit", "event1.json"],
    ["emit", "stale.json"],
    ["doctor"],
    ["status"],
    ["status", "--dc", "dc1"],
    ["status", "--dc", "dc9"],
    ["status", "s2", "--failed-over"],
    ["status", "s2"],
    ["status", "nosuch"],
    ["instances", "s2"],
    ["instances", "s2", "--dc", "dc2", "--json"],
    ["instances", "nosuch"],
    ["proxies"],
    ["proxies", "s1", "--dc", "dc1", "--json"],
    ["proxies", "nosuch"],
    ["explain", "s2", "--dc", "dc1", "--from", "s1"],
    ["explain", "s2", "--dc", "dc2", "--json"],
    ["explain", "nosuch", "--dc", "dc1"],
    ["explain", "s2", "--dc", "dc9"],
    ["whatif", "--down", "dc1"],
    ["whatif", "--down", "dc9"],
    ["orders"],
    ["drain", "dc1", *WHY, "--dry-run"],
    ["drain", "dc1", *WHY],
    ["drain", "dc2", *WHY],
    ["drain", "dc2", *WHY, "--force"],
    ["drain", "dc9", *WHY],
    ["drain", "dc1", "--for", "800h", "--reason", "works"],
    ["drain", "dc1", "--for", "1h"],
    ["pin", "s2", "--to", "dc2", *WHY, "--force", "--json"],
    ["freeze", *WHY],
    ["orders"],
    ["orders", "--json"],
    ["status"],
    ["end", "d-1"],
    ["end", "d-1"],
    ["end", "nosuch"],
    ["source", "list"],
    ["source", "list", "--json"],
    ["source", "forget", "agent/h1"],
    ["source", "forget", "agent/h1", "--dc", "dc1", "--yes"],
    ["source", "forget", "agent/h1", "--dc", "dc1"],
    ["delete", "service-resolver", "nosuch"],
    ["delete", "service-resolver", "s3", "--owner", "team-b"],
    ["delete", "service-resolver", "s3", "-m", "not needed"],
    ["delete", "registration", "s1", "--dc", "dc1"],
    ["rollback", "2"],
    ["rollback", "99"],
    ["config", "log", "--most", "4"],
    ["diff", "1", "3"],
    ["diff", "--json"],
    ["diff", "99"],
    ["history", "s2", "--since", "1h"],
    ["history", "--at", "2020-01-01T00:00:00Z"],
    ["history", "nosuch"],
    ["history", "--since", "soon"],
    ["list"],
]

_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{5,8}(\.[0-9]+)?(Z| UTC)|[0-9a-f]{40,}")
"""Moments, and digests of what has moments."""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is applied and sent, in the current directory."""
    monkeypatch.chdir(tmp_path)
    s2 = resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}})
    documents: dict[str, Any] = {
        "empty": [],
        "mesh": [proxy_defaults(mode="local"), s2, sidecar("s1", "s2"), gateway("dc1")],
        "broken": [resolver("s4", DefaultSubset="nosuch"), {"Kind": "service-resolver", "Nme": "s5"}],
        "owned": [resolver("s3")],
    }
    for name, index, dc in (("event1", 1, "dc1"), ("event2", 2, "dc2")):
        told = {"Source": "agent/h1", "Index": index, "Datacenter": dc, "Service": "s2", "Lease": "1h"}
        documents[name] = {"detail-type": "Service Health Changed", "detail": told | {"Instances": [instance("s2")]}}
    documents["stale"] = json.loads(json.dumps(documents["event1"]).replace("passing", "critical"))
    for name, content in documents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path


def test_a_command_says_the_same_of_a_store_and_of_a_running_control_plane(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(words: list[str], *where: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*words, *where])
        found = capsys.readouterr()
        out, err = (_MOMENT.sub("THEN", text).replace(where[-1], "PLACE") for text in found)
        return code, out, err

    # What `up` begins with.
    assert said(["apply", "empty.json"], "--store", "alone.db", "--trust-domain", "td")[0] == 0
    with Pointsman(files, "td", listen=f"unix:{files}/up.sock") as pointsman:
        for words in TYPED:
            alone = said(words, "--store", "alone.db")
            assert said(words, "--url", pointsman.url) == alone, words
    tried = {" ".join(words[: 1 + (words[0] in ("config", "source"))]) for words in TYPED}
    options = {name: {each.name for each in found.params} for name, found in commands_of("", group).items()}
    assert tried == {name for name, known in options.items() if {"store", "urls"} <= known}
