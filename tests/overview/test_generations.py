"""Who changed the config, when, what and what for."""

import getpass
import json
import socket
from pathlib import Path

import pytest
from pointsman.cli.generations import MOST_CHANGES, MOST_CLUSTERS
from pointsman.cli.main import run
from pointsman.model.errors import InvalidInput
from pointsman.model.note import LONGEST_MESSAGE, Note
from pointsman.overview.generations import MOST_GENERATIONS, MOST_NAMED, read_difference, read_log

from tests.pipeline.meshes import event, gateway, instance, proxy_defaults, resolver, sidecar
from tests.pipeline.place import Place


def test_who_changed_what_when_and_what_for_is_kept_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "pointsman.db")
    me = f"{getpass.getuser()}@{socket.gethostname()}"

    def pointsman(*words: str) -> str:
        assert run([*words, "--store", store]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    def apply(message: str, *documents: object) -> None:
        file = tmp_path / "documents.json"
        file.write_text(json.dumps(documents))
        pointsman("apply", str(file), "--message", message)

    many = [resolver(f"s{number}") for number in range(MOST_NAMED + 1)]
    sidecars = [sidecar("shop", *(f"s{number}" for number in range(MOST_CLUSTERS + 1))), gateway("dc1")]
    apply("the beginning", *many, *sidecars)
    apply("dc2 takes over", resolver("s1", Failover={"*": {"Datacenters": ["dc2"]}}))
    pointsman("delete", "service-resolver", "s2", "-m", "s2 is gone")
    pointsman("rollback", "2")
    told = json.loads(pointsman("config", "log", "--json"))
    assert (told["schema"], told["more"]) == (1, False)
    assert [(each["generation"], each["by"], each["message"], each["changed"]) for each in told["generations"]] == [
        (4, me, "rollback to generation 2", 1),
        (3, me, "s2 is gone", 1),
        (2, me, "dc2 takes over", 1),
        (1, me, "the beginning", len(many) + 2),
    ]
    assert all(each["at"].startswith("20") and each["at"].endswith("Z") for each in told["generations"])
    assert told["generations"][1]["changes"] == [{"what": "gone", "thing": 'service-resolver "s2"'}]
    assert len(told["generations"][3]["changes"]) == MOST_NAMED
    shown = pointsman("config", "log").splitlines()
    assert shown[0].endswith(f"{me}: rollback to generation 2")
    assert shown[1] == '    new service-resolver "s2"'
    assert shown[-1] == f"    and {len(many) + 2 - MOST_CHANGES} more: pointsman diff 0 1"
    assert json.loads(pointsman("config", "log", "--most", "3", "--json"))["more"]
    assert run(["config", "log", "--store", store, "--most", str(MOST_GENERATIONS + 1)]) == 2
    # What differs between two of them, and the clusters that it is about.
    shown = pointsman("diff", "1", "3").splitlines()
    assert shown[0] == "generation 1 to 3: 2 changes"
    assert {
        '  ~ service-resolver "s1"',
        '      Failover: added {"*":{"Datacenters":["dc2"]}}',
        '  - service-resolver "s2"',
    } <= set(shown)
    assert shown[-2:] == ["1 cluster changed", "  dc1/sidecar/s1.default.dc1"]
    assert pointsman("diff", "2") == "generation 2 to 4: 0 changes\n"
    assert "and 1 more" in pointsman("diff", "0", "1").splitlines()[-1]
    assert json.loads(pointsman("diff", "--json"))["changes"][0]["what"] == "new"
    # A message is one line; what is refused changes nothing.
    for message, reason in (("x" * (LONGEST_MESSAGE + 1), "are the most"), ("two\nlines", "write one line")):
        assert run(["rollback", "1", "--store", store, "--message", message]) == 1
        assert reason in capsys.readouterr().err
    assert run(["diff", "7", "--store", store]) == 1
    assert "is not in the history of 4" in capsys.readouterr().err


def test_a_note_is_no_part_of_the_config() -> None:
    place = Place()
    place.configure(resolver("web"), sidecar("shop", "web"), note=Note("alice@laptop", "to begin with"))
    # The same again is no generation, whoever writes it.
    assert not place.configure(resolver("web"), note=Note("bob@laptop", "to be sure")).changed
    place.configure(resolver("web", ConnectTimeout="2s"))
    log = read_log(place.engine, 5).generations
    assert [(each.by, each.message) for each in log] == [("", ""), ("alice@laptop", "to begin with")]
    assert log[0].changes == (("changed", 'service-resolver "web"'),)
    assert read_difference(place.engine, 1, 1).changes == ()
    with pytest.raises(InvalidInput, match="is not in the history"):
        read_difference(place.engine, 1, 3)


def test_a_difference_says_where_it_sends_traffic() -> None:
    place = Place()
    mesh = [proxy_defaults(mode="remote"), sidecar("shop", "web"), gateway("dc1")]
    place.configure(*mesh, resolver("web", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}))
    place.configure(resolver("web", Failover={"*": {"Datacenters": ["dc3", "dc2"]}}))
    assert read_difference(place.engine, 1, 2).moves == ()
    for dc in ("dc2", "dc3"):
        place.ingest(event("web", 1, [instance("web")], dc=dc))
    (move,) = read_difference(place.engine, 1, 2).moves
    assert (move.before, move.after) == ("web.default.dc2", "web.default.dc3")
    assert (move.weight_before, move.weight_after) == (1, 1)
    (back,) = read_difference(place.engine, 2, 1).moves
    assert (back.before, back.after) == (move.after, move.before)
