"""Three control planes, each with a store of its own: one command writes to all, and one says where they differ."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli.compared import MOST_DIFFERENCES, Seen, examine
from pointsman.cli.everywhere import MOST_URLS
from pointsman.cli.main import run

from tests.fleet.control_plane import Pointsman
from tests.pipeline.meshes import instance, resolver, sidecar

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def planes(tmp_path: Path) -> Iterator[list[Pointsman]]:
    """Three of them: a and b run, c is not started yet."""
    made = []
    for name in "abc":
        (tmp_path / name).mkdir()
        made.append(Pointsman(tmp_path / name, "td", name=name, listen=f"unix:{tmp_path}/{name}.sock"))
    with ExitStack() as running:
        for each in made[:2]:
            running.enter_context(each)
        yield made
        made[2].stop()


def differing(out: str) -> list[str]:
    """The lines of `doctor` on what is not the same everywhere."""
    kinds = ("reachable: ", "config: ", "orders: ", "sources: ", "trust-domain: ")
    return [line for line in out.splitlines() if line.startswith(kinds)]


def test_one_command_writes_to_all_or_none_and_who_was_away_catches_up(
    planes: list[Pointsman], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [f"unix:{tmp_path}/{name}.sock" for name in "abc"]
    a, b, c = urls
    to_all = [word for url in urls for word in ("--url", url)]

    def typed(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    def document(name: str, *documents: dict[str, Any]) -> str:
        (tmp_path / name).write_text(json.dumps(documents))
        return str(tmp_path / name)

    mesh = document("mesh.json", resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}), sidecar("s1", "s2"))
    code, out, err = typed("apply", *to_all, mesh)
    assert (code, out.splitlines()) == (
        (5, [f"{url}: generation 2: 2 documents, 1 snapshot and 1 manifest published" for url in (a, b)])
    )
    assert f"behind: {c} cannot be reached: {c}: No such file or directory" in err
    assert "1 of 3 are behind; run the same command again when they answer" in err

    taken = document("taken.json", resolver("s3"))
    assert typed("apply", "--url", b, "--owner", "team-b", taken)[0] == 0
    both = ["--url", a, "--url", b]
    other = document("other.json", resolver("s3", ConnectTimeout="3s"))
    code, out, err = typed("apply", *both, "--owner", "team-a", other)
    assert (code, out) == (1, "")
    assert f'{b}: service-resolver "s3"' in err
    assert "nothing was written anywhere" in err
    assert typed("list", "--url", a, "service-resolver")[1] == "service-resolver\tdefault/s2\n"
    code, out, err = typed("apply", "--url", c, "--url", f"{c}.other", mesh)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == "pointsman: nothing was written anywhere"
    assert typed("apply", "--url", a, "--owner", "team-b", taken)[0] == 0

    code, out, err = typed("doctor", *to_all)
    assert (code, err) == (1, "")
    assert f"reachable: {c}: {c} cannot be reached" in out
    planes[2].start()
    assert typed("apply", *to_all, "--dry-run", mesh)[1].splitlines() == [
        f"{a}: valid: 2 documents, no change; nothing was written",
        f"{b}: valid: 2 documents, no change; nothing was written",
        f"{c}: valid: 2 documents, a change; nothing was written",
    ]
    code, out, err = typed("apply", *to_all, mesh)
    assert (code, err) == (0, "")
    assert [line.partition(": ")[2].partition(": ")[2] for line in out.splitlines()] == [
        "nothing to change",
        "nothing to change",
        "2 documents, 1 snapshot and 1 manifest published",
    ]

    assert typed("apply", "--url", c, "--owner", "team-b", taken)[0] == 0
    code, out, err = typed("apply", *to_all, "--plan", document("plan.json", resolver("s2", ConnectTimeout="1s")))
    assert (code, [out.count(f"{url}:\nif 1 document of generation") for url in urls]) == (4, [1, 1, 1])
    # Nobody asks: what would go at each is shown, and nothing is written.
    code, out, err = typed("apply", *to_all, "--prune", "--owner", "team-b", mesh)
    assert (code, out.count('- service-resolver "s3"'), "give --yes" in err) == (1, 3, True)
    assert differing(typed("doctor", *to_all)[1]) == []

    order = ["--for", "1h", "--reason", "works", "--force"]
    code, out, err = typed("pin", "s2", "--to", "dc2", *to_all, *order)
    assert (code, [line for line in out.splitlines() if line in (f"{url}:" for url in urls)]) == (
        0,
        [f"{u}:" for u in urls],
    )
    assert differing(typed("doctor", *to_all)[1]) == []

    told = {"Source": "agent/h1", "Index": 1, "Datacenter": "dc1", "Service": "s2", "Instances": [instance("s2")]}
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"detail-type": "Service Health Changed", "detail": told}))
    assert typed("emit", "--url", a, str(event))[0] == 0
    code, out, err = typed("emit", "--url", a, "--url", f"{c}.other", str(event))
    assert (code, out) == (5, f"{a}: revision 1: said nothing new; 0 snapshots moved\n")
    assert err.startswith(f"behind: {c}.other cannot be reached")
    code, out, err = typed("emit", "--url", f"{a}.other", "--url", f"{c}.other", str(event))
    assert (code, out, err.count("cannot be reached")) == (1, "", 2)
    assert typed("drain", "dc2", "--url", b, *order)[0] == 0
    assert typed("apply", "--url", c, document("more.json", resolver("s2", ConnectTimeout="3s")))[0] == 0
    code, out, err = typed("doctor", *to_all, "--json")
    assert (code, err) == (1, "")
    findings = [each for each in json.loads(out)["findings"] if each["what"] in ("config", "orders", "sources")]
    assert [(each["what"], each["where"]) for each in findings] == [
        ("config", "service-resolver default/s2"),
        ("orders", "drain dc dc2"),
        ("sources", "agent/h1 of dc1"),
    ]
    assert findings[0]["says"].endswith(f" at {a}, {b}; {findings[0]['says'].split('; ')[1].split(' ')[0]} at {c}")
    assert findings[1]["says"].startswith(f"missing at {a}, {c}; until ")
    assert findings[2]["says"] == f"1 of 1 services at {a}; missing at {b}, {c}"
    assert all(each["do"] for each in findings)


def test_so_many_control_planes_are_asked_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text("[]")
    many = [word for number in range(MOST_URLS + 1) for word in ("--url", f"http://127.0.0.1:{number + 1}")]
    for urls, reason in ((many, f"{MOST_URLS} are the most"), (many[:2] * 2, "one --url is given twice")):
        assert run(["apply", *urls, str(empty)]) == 2
        assert reason in capsys.readouterr().err


def test_so_many_differences_are_named_and_the_others_counted() -> None:
    nothing = Seen("a", [], {"in_force": []}, [], {"findings": []})
    much = replace(nothing, url="b", config=[resolver(f"s{number}") for number in range(MOST_DIFFERENCES + 3)])
    *named, last = examine([nothing, much])
    assert {(each.what, each.says.partition(" ")[0]) for each in named} == {("config", "missing")}
    assert (len(named), last.where) == (MOST_DIFFERENCES, "3 more")
