"""Orders on the command line: what a person types, what comes back, and what is refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pointsman.cli import orders as cli
from pointsman.cli.main import run

from tests.pipeline.meshes import gateway, instance, proxy_defaults, resolver, sidecar

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command on a store in which dc1 uses s2, which runs in dc1 and dc2: exit code, stdout and stderr."""
    monkeypatch.setenv("POINTSMAN_STORE", str(tmp_path / "pointsman.db"))

    def type_(*arguments: str, stdin: Any = None) -> tuple[int, str, str]:
        if stdin is not None:
            file = tmp_path / "stdin.json"
            file.write_text(json.dumps(stdin))
            arguments = (*arguments, str(file))
        code = run(list(arguments))
        said = capsys.readouterr()
        return code, said.out, said.err

    documents = [
        proxy_defaults(mode="local"),
        resolver("s2", Failover={"*": {"Datacenters": ["dc2"]}}),
        sidecar("s1", "s2"),
        gateway("dc1"),
    ]
    assert type_("apply", stdin=documents)[0] == 0
    for index, dc in enumerate(("dc1", "dc2"), 1):
        detail = {"Source": "test", "Index": index, "Datacenter": dc, "Service": "s2", "Instances": [instance("s2")]}
        event = {"detail-type": "Service Health Changed", "detail": detail}
        assert type_("emit", "--store", str(tmp_path / "pointsman.db"), stdin=event)[0] == 0
    return type_


WHY = ("--reason", "new kernel")


def test_a_drain_shows_wherever_its_effect_shows_until_it_is_ended(typed: Typed) -> None:
    code, out, err = typed("drain", "dc1", "--for", "2h", *WHY)
    assert (code, err) == (0, "")
    first, moves = out.splitlines()
    assert first.startswith("in force: d-1: drain dc1 until ")
    assert first.endswith(" UTC")
    assert "(new kernel), given by " in first
    assert moves == "  s2.default.dc1 as dc1 sees it: s2.default.dc1 -> s2.default.dc2, healthy weight 1 -> 1"

    assert first.removeprefix("in force: ") in typed("orders")[1]
    status = typed("status")[1]
    assert first.removeprefix("in force: ") in status
    assert "dc1: 1 of 1 healthy, but it is drained by order d-1 until" in status
    explained = typed("explain", "s2", "--dc", "dc1")[1]
    assert "s2.default.dc1  1 of 1 healthy, drained (d-1)" in explained
    assert json.loads(typed("status", "--json")[1])["orders"][0]["reason"] == "new kernel"

    assert typed("end", "d-1") == (0, "order d-1 ended; 1 cluster moved\n", "")
    assert typed("end", "d-1") == (0, "order d-1 had ended before; 0 clusters moved\n", "")
    assert "0 orders in force\n\n1 order ended lately\n  d-1: drain dc1 until" in typed("orders")[1]
    found = json.loads(typed("orders", "--json")[1])
    assert (found["in_force"], found["ended"][0]["id"]) == ([], "d-1")
    assert "drained" not in typed("status")[1]


def test_what_an_order_would_do_is_told_and_not_done(typed: Typed) -> None:
    code, out, _ = typed("drain", "s2", "--dc", "dc1", "--for", "1h", *WHY, "--dry-run")
    assert (code, out.splitlines()[0][:17]) == (0, "would be in force")
    assert "s2.default.dc1 -> s2.default.dc2" in out
    assert typed("orders")[1] == "0 orders in force\n"
    code, out, _ = typed("pin", "s2", "--to", "dc2", "--from", "dc1", "--for", "1h", *WHY, "--dry-run", "--json")
    (effect,) = json.loads(out)["effects"]
    assert (code, effect["before"], effect["after"], effect["objection"]) == (
        (0, "s2.default.dc1", "s2.default.dc2", "")
    )


def test_what_is_refused_is_named_and_forced_is_written_down(typed: Typed) -> None:
    typed("drain", "dc2", "--for", "1h", *WHY)
    code, out, err = typed("drain", "dc1", "--for", "1h", *WHY)
    assert (code, out) == (1, "")
    assert err.startswith(
        "pointsman: drain dc1: s2.default.dc1 as dc1 sees it: no healthy target would be left that is not drained; "
        "s2.default.dc2 is drained by order d-1 until"
    )
    code, out, err = typed("drain", "dc1", "--for", "1h", *WHY, "--force")
    assert code == 0
    assert out.splitlines()[0].endswith(", forced")
    assert err.startswith("forced: drain dc1: s2.default.dc1 as dc1 sees it: no healthy target would be left")
    assert json.loads(typed("orders", "--json")[1])["in_force"][-1]["forced"]


def test_a_freeze_of_everything_or_of_a_service(typed: Typed) -> None:
    code, out, _ = typed("freeze", "--for", "1h", *WHY)
    assert code == 0
    assert out.splitlines()[1] == "  none of 1 cluster moves"
    assert "f-2: freeze s2 until" in typed("freeze", "s2", "--for", "1h", *WHY)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["drain", "dc1", *WHY], 2, "give an end: --for DURATION or --until TIME"),
        (["drain", "dc1", *WHY, "--for", "1h", "--until", "2026-11-27T14:00:00Z"], 2, "give an end"),
        (["drain", "dc1", *WHY, "--for", "721h"], 1, "--for: 721h is more than 30 days away"),
        (["drain", "dc1", *WHY, "--for", "-1h"], 1, "--for: -1h is in the past"),
        (["drain", "dc1", *WHY, "--for", "20"], 1, '--for: "20" has no unit; write 20s'),
        (["drain", "dc1", *WHY, "--until", "2020-11-27T14:00:00Z"], 1, "is in the past"),
        (["drain", "dc1", *WHY, "--until", "tomorrow"], 1, '--until: "tomorrow" is not a time like'),
        (["drain", "dc1", *WHY, "--until", "2026-11-27T14:00"], 1, '--until: "2026-11-27T14:00" has no time zone'),
        (["drain", "dc1", "--for", "1h"], 1, "--reason: is required"),
        (["drain", "DC1", "--for", "1h", *WHY], 1, 'TARGET: "DC1" is not a lower-case DNS label'),
        (["drain", "dc9", "--for", "1h", *WHY], 1, "drain dc9: no registered sidecar has a cluster that this is about"),
        (["pin", "s2", "--for", "1h", *WHY], 2, "--to"),
        (["pin", "s2", "--to", "dc3", "--for", "1h", *WHY], 1, "it has no target in dc3"),
        (["end", "d-7"], 1, "order d-7: is not there; `pointsman orders` shows those in force"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else None,
)
def test_what_is_wrong_is_refused_with_the_way_out(typed: Typed, arguments: list[str], code: int, reason: str) -> None:
    found, out, err = typed(*arguments)
    assert (found, out) == (code, "")
    assert reason in err


def test_an_order_may_end_at_a_time_of_any_zone(typed: Typed) -> None:
    then = (datetime.now(UTC) + timedelta(hours=3)).replace(microsecond=0)
    there = then.astimezone().isoformat()
    assert typed("drain", "dc1", "--until", there, *WHY)[0] == 0
    (order,) = json.loads(typed("orders", "--json")[1])["in_force"]
    assert datetime.fromisoformat(order["until"]) == then


def test_so_many_moves_are_shown_and_the_rest_is_counted(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "MOST_MOVES", 0)
    assert typed("drain", "dc1", "--for", "1h", *WHY)[1].splitlines()[1:] == ["  and 1 more; --json shows all"]
