"""Before something is changed: what `apply --plan`, `whatif` and `apply --prune` show, and with which exit code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from pointsman.cli import documents, what_if
from pointsman.cli.changes import LONGEST_VALUE, MOST_FIELDS, change_lines
from pointsman.cli.main import run

from tests.fleet.control_plane import Pointsman
from tests.pipeline.meshes import (
    gateway,
    gateway_instance,
    instance,
    intentions,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
)

Typed = Callable[..., tuple[int, str, str]]

MESH = [
    proxy_defaults(mode="local"),
    resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}),
    sidecar("s1", "s2", "s3"),
    sidecar("s4", "s2"),
    gateway("dc1"),
]


def file(path: Path, *things: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(things))
    return str(path)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which dc1 uses s2, which runs in dc1 and dc2, and s3, which runs in dc1."""
    directory = tmp_path_factory.mktemp("mesh")
    store = directory / "store.db"
    assert run(["apply", "--store", str(store), file(directory / "mesh.json", *MESH)]) == 0
    said = (("s2", "dc1"), ("s2", "dc2"), ("s3", "dc1"), (None, "dc1"), (None, "dc2"))
    for index, (service, dc) in enumerate(said, 1):
        what = {"Service": service} if service else {"Kind": "mesh-gateway"}
        running = [instance(service)] if service else [gateway_instance()]
        detail = {"Source": "test", "Index": index, "Datacenter": dc, "Instances": running, **what}
        event = {"detail-type": "Service Health Changed", "detail": detail}
        assert run(["emit", "--store", str(store), file(directory / "event.json", event)]) == 0
    assert run(["backup", "--store", str(store), str(directory / "copy.db")]) == 0
    return directory


@pytest.fixture
def typed(mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command on a copy of `mesh`: exit code, stdout and stderr."""
    shutil.copy(mesh / "copy.db", tmp_path / "store.db")
    shutil.copy(mesh / "mesh.json", tmp_path)
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "store.db"))

    def type_(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    return type_


def test_what_would_happen_is_shown_and_the_exit_code_says_how_bad_it_is(typed: Typed, tmp_path: Path) -> None:
    other = file(tmp_path / "other.json", resolver("s2", ConnectTimeout="1s"), policy("s3", HealthyThreshold=2))
    assert typed("whatif", "--down", "dc1/s2") == (
        4,
        """if dc1/s2 is down:

1 cluster with traffic that goes elsewhere
  s2.default.dc1 as dc1 sees it: s2.default.dc1 -> s2.default.dc2, healthy weight 1 -> 1 (2 registrations)

who receives more
  s2.default.dc2: healthy weight 1 -> 1, serves 0 clusters of 0 registrations -> 1 cluster of 2 registrations

everybody would have somewhere to go
""",
        "",
    )
    code, out, _ = typed("whatif", "--down", "dc1/s2", "--order", "drain dc2", "--down", "dc1/s3", other)
    assert code == 3
    assert (
        out.splitlines()
        == """if dc1/s2 is down and dc1/s3 is down and "drain dc2" is ordered and 2 documents of generation 1
  change:
  + failover-policy "s3"
  ~ service-resolver "s2"
      Failover: removed, was {"*":{"Datacenters":["dc2"]}}
      ConnectTimeout: added 1s

2 clusters changed
  ~ s2.default.dc1 as dc1 sees it
      connect_timeout_ms: 5000 -> 1000
      targets: ["s2.default.dc1","s2.default.dc2"] -> ["s2.default.dc1"]
      server_names["s2.default.dc2"]: removed, was s2.default.dc2.internal.pointsman
      gateways["s2.default.dc2"]: removed, was local
  ~ s3.default.dc1 as dc1 sees it
      policy: added {"threshold":2}

2 clusters with nowhere to go
  s2.default.dc1 as dc1 sees it: its target is not healthy (2 registrations)
  s3.default.dc1 as dc1 sees it: its target is not healthy (1 registration)

somebody would have nowhere to go""".splitlines()
    )
    assert typed("whatif", "--down", "dc2")[:2] == (0, "if dc2 is down:\n\nnothing would change\n")
    assert "2 clusters of callers that are down themselves" in typed("whatif", "--down", "dc1")[1]
    assert typed("whatif")[0] == typed("whatif", "--down", "dc1", "--prune")[0] == 2
    assert typed("whatif", "--order", "drink dc1")[0] == 1
    assert json.loads(typed("whatif", "--down", "dc1/s3", "--json")[1])["result"] == "nowhere"


def test_a_plan_says_what_apply_does_and_apply_may_insist_on_it(typed: Typed, tmp_path: Path) -> None:
    change = file(tmp_path / "change.json", resolver("s2", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}))
    code, out, _ = typed("apply", "--plan", change)
    assert code == 4
    assert out.splitlines()[:3] == [
        "if 1 document of generation 1 changes:",
        '  ~ service-resolver "s2"',
        '      Failover["*"].Datacenters: ["dc2"] -> ["dc2","dc3"]',
    ]
    told = json.loads(typed("apply", "--plan", "--json", change)[1])
    assert (told["generation"], told["result"], told["counts"]["plans"]) == (1, "changes", 1)
    assert typed("apply", change, "--generation", "0")[0] == 1
    assert typed("apply", change, "--generation", "1")[1].startswith("generation 2: 1 document")
    assert typed("apply", change, "--generation", "1") == (
        (1, "", "pointsman: the config: is generation 2 by now, not 1: look again at what would change\n")
    )
    assert typed("apply", "--plan", change)[:2] == (0, "generation 2 is that already\n\nnothing would change\n")
    moves = file(tmp_path / "moves.json", resolver("s3", Redirect={"Service": "s2"}))
    code, out, _ = typed("apply", "--plan", moves)
    assert (code, "  - s3.default.dc1 as dc1 sees it" in out) == (4, True)
    gone = file(tmp_path / "gone.json", resolver("s3", Redirect={"Service": "s9"}))
    code, out, _ = typed("apply", "--plan", gone)
    assert (code, "  s9.default.dc1 as dc1 sees it: its target is not healthy (1 registration)" in out) == (3, True)
    denied = file(tmp_path / "denied.json", intentions("s2", ("*", "deny")))
    code, out, _ = typed("apply", "--plan", denied)
    assert code == 4
    assert '\n2 calls decided otherwise\n  s1 calls s2: allowed -> denied, by service-intentions "s2"\n' in out


def test_the_plan_of_a_first_config_makes_no_store(typed: Typed, tmp_path: Path) -> None:
    store = tmp_path / "new.db"
    code, out, err = typed("apply", "--plan", "--store", str(store), str(tmp_path / "mesh.json"))
    assert (code, store.exists()) == (4, False)
    assert out.endswith("everybody would have somewhere to go; 2 new clusters without a healthy target yet\n")
    assert err.endswith("this would be the first config\n")


def test_what_a_prune_removes_is_shown_and_asked_about_first(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    file(whole / "a.json", *(each for each in MESH if each != sidecar("s4", "s2")))
    assert typed("apply", "--prune", str(whole)) == (
        (1, *_goes(), "pointsman: apply --prune: something goes, and nobody can be asked here: give --yes\n")
    )
    assert typed("apply", "--prune", "--dry-run", str(whole))[1] == (
        "valid: 4 documents, a change; nothing was written\n"
    )
    assert "dc1/sidecar/default/s4" in typed("list")[1]

    answers = iter([False, True])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: next(answers))
    assert typed("apply", "--prune", str(whole)) == (1, *_goes(), "nothing was written\n")
    code, out, _ = typed("apply", "--prune", str(whole))
    assert (code, out) == (0, f"{_goes()[0]}generation 2: 4 documents, 0 snapshots and 1 manifest published\n")
    assert "dc1/sidecar/default/s4" not in typed("list")[1]
    assert typed("apply", "--prune", str(whole)) == (0, "generation 2: nothing to change\n", "")
    file(whole / "below" / "b.json", sidecar("s4", "s2"))
    assert typed("apply", "--prune", "--owner", "team", str(whole / "below"))[0] == 0
    assert typed("apply", "--prune", "--yes", str(whole / "a.json"))[1] == "generation 3: nothing to change\n"
    for wrong in ("--prune -", "--json x", "--plan --dry-run x", "--plan --generation 1 x"):
        assert typed("apply", *wrong.split())[0] == 2


def _goes() -> tuple[str]:
    return (
        "if 1 document of generation 1 changes:\n"
        "  - registration dc1/sidecar/default/s4\n"
        "\n"
        "everybody would have somewhere to go\n",
    )


def test_a_running_control_plane_says_the_same(tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    change = file(tmp_path / "change.json", resolver("s2", ConnectTimeout="1s"))
    lines = (
        ("whatif", "--down", "dc1/s2", "--order", "freeze s2", change),
        ("apply", "--plan", "--json", change),
        ("apply", "--plan", "--prune", change),
    )
    here = [typed(*each) for each in lines]
    url = f"unix:{tmp_path}/up.sock"
    monkeypatch.delenv("POINTSMAN_STORE")
    with Pointsman(tmp_path, "pointsman", listen=url):
        assert [typed(*each, "--url", url) for each in lines] == here
        assert typed("apply", "--url", url, "--generation", "7", change)[0] == 1
        assert typed("apply", "--url", url, "--prune", "--yes", change)[1].endswith(
            "generation 2: 1 document, 0 snapshots and 3 manifests published\n"
        )
        assert typed("list", "--url", url)[1] == "service-resolver\tdefault/s2\n"


def test_a_directory_is_read_as_a_whole(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    file(config / "one.json", resolver("one"))
    file(config / "below" / "two.json", resolver("two"))
    (config / "three.hcl").write_text('Kind = "service-resolver"\nName = "three"\n')
    (config / "below" / "four.yml").write_text("Kind: service-resolver\nName: four\n")
    (config / "README.md").write_text("not config")
    file(config / ".git" / "five.json", resolver("five"))
    file(config / ".hidden.json", resolver("six"))
    assert [each["Name"] for each in documents.read_documents([str(config)])] == ["four", "two", "one", "three"]
    (tmp_path / "empty").mkdir()
    code, _, err = typed("apply", "--prune", "--yes", str(tmp_path / "empty"))
    assert (code, "has no file of config: none ends in .hcl, .json, .yaml, .yml" in err) == (1, True)
    for bound, most, reason in (
        ("MOST_FILES", 3, "has more than 3 files of config"),
        ("MOST_LEVELS", 0, "has directories more than 0 levels deep"),
        ("MOST_DOCUMENTS", 3, "holds document 4 of the batch, 3 are the most"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(documents, bound, most)
            code, _, err = typed("apply", "--dry-run", str(config))
            assert (code, reason in err) == (1, True), err


def test_so_much_is_shown_and_the_rest_is_counted(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "MOST_LINES", 1)
    lines = typed("whatif", "--down", "dc1/s2", "--down", "dc1/s3", "--order", "drain dc2")[1].splitlines()
    assert "  and 1 more; --json has all" in lines
    before = {f"F{number}": "x" for number in range(MOST_FIELDS + 2)}
    after = dict.fromkeys(before, "y" * (LONGEST_VALUE + 1))
    found = list(change_lines({"what": "changed", "before": before, "after": after}, "it"))
    assert found[1] == f"    F0: x -> {'y' * LONGEST_VALUE}…"
    assert found[-1] == "    and 2 more fields; --json has all"
