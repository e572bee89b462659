"""`pointsman drill`: out and back, with a report; early at a signal, and by itself when its process dies."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.test_cli import POINTSMAN
from tests.cli.test_orders import Typed, typed
from tests.fleet.process import wait_until

__all__ = ["typed"]


@contextmanager
def drilling(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`pointsman drill dc1` as a process of its own, until the end of the block."""
    process = subprocess.Popen(
        [POINTSMAN, "drill", "dc1", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def began(process: "subprocess.Popen[str]") -> None:
    """Return when the drill has seen what moved, and watches."""
    assert process.stderr is not None
    assert process.stderr.readline().startswith("drill: d-1: drain dc1 until")


def in_force(typed: Typed) -> list[str]:
    return [each["id"] for each in json.loads(typed("orders", "--json")[1])["in_force"]]


def serves(typed: Typed) -> str:
    return str(json.loads(typed("status", "--json")[1])["resolvers"][0]["active"])


def test_a_drill_goes_out_and_comes_back_and_says_how_long_that_took(typed: Typed) -> None:
    code, out, err = typed("drill", "dc1", "--for", "2s", "--json")
    report = json.loads(out)
    assert (code, report["good"], report["why"]) == (0, True, "its time was up")
    assert err.startswith("drill: d-1: drain dc1 until")
    (cluster,) = report["clusters"]
    assert [cluster[name] for name in ("before", "during", "after")] == [
        "s2.default.dc1",
        "s2.default.dc2",
        "s2.default.dc1",
    ]
    assert (cluster["weight_before"], cluster["weight_during"]) == (1, 1)
    assert cluster["out_ms"] is not None
    assert cluster["back_ms"] is not None
    assert (report["stayed"], report["switches"], report["failed"]) == ([], [], [])
    assert (in_force(typed), serves(typed)) == ([], "s2.default.dc1")

    code, out, _ = typed("drill", "s2", "--dc", "dc1", "--for", "1s")
    first, where, went, back, last = out.splitlines()
    assert first.startswith("drain s2 in dc1: ")
    assert where == "  s2.default.dc1 as dc1 sees it"
    assert went.startswith("    s2.default.dc1 -> s2.default.dc2, published after ")
    assert back.startswith("    back at s2.default.dc1, published after ")
    assert last.startswith("good: 1 of 1 cluster moved, the last one published after ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_drill_early_and_safely(typed: Typed, number: int) -> None:
    with drilling("--for", "10m", "--json") as process:
        began(process)
        assert serves(typed) == "s2.default.dc2"
        os.kill(process.pid, number)
        out, _ = process.communicate(timeout=60)
        report = json.loads(out)
        assert (process.returncode, report["good"]) == (0, True)
        assert report["why"].startswith("ended by ")
        assert (in_force(typed), serves(typed)) == ([], "s2.default.dc1")


def test_a_drill_whose_process_dies_ends_by_itself(typed: Typed) -> None:
    with drilling("--for", "3s") as process:
        began(process)
        assert serves(typed) == "s2.default.dc2"
        process.kill()
        process.wait()
        assert in_force(typed) == ["d-1"]

        def is_over() -> bool:
            assert typed("reconcile")[0] == 0
            return in_force(typed) == []

        wait_until(is_over, "the order to be over")
        assert serves(typed) == "s2.default.dc1"


def test_somebody_else_may_end_a_drill(typed: Typed) -> None:
    with drilling("--for", "10m") as process:
        began(process)
        assert typed("end", "d-1")[0] == 0
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out.splitlines()[-1].startswith("good: 1 of 1 cluster moved")


def test_what_does_not_move_or_does_not_come_back_is_no_good_drill(typed: Typed, tmp_path: Path) -> None:
    store = str(tmp_path / "pointsman.db")

    def say(dc: str, index: int, status: str) -> None:
        service = {"ID": "s2-1", "Service": "s2-sidecar", "Kind": "connect-proxy", "Address": "10.1.0.1", "Port": 2000}
        one = {"Node": {"Node": "node1"}, "Service": {**service, "Proxy": {"DestinationServiceName": "s2"}}}
        listed = [{**one, "Checks": [{"CheckID": "alive", "Status": status}]}]
        detail = {"Source": "test", "Index": index, "Datacenter": dc, "Service": "s2", "Instances": listed}
        event = {"detail-type": "Service Health Changed", "detail": detail}
        assert typed("emit", "--store", store, stdin=event)[0] == 0

    with drilling("--for", "10m") as process:
        began(process)
        assert serves(typed) == "s2.default.dc2"
        say("dc1", 11, "critical")
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "    NOT BACK: s2.default.dc2 serves" in out.splitlines()

    say("dc1", 12, "passing")
    say("dc2", 13, "critical")
    code, out, err = typed("drill", "dc1", "--for", "1s")
    assert (code, out) == (1, "")
    assert "no healthy target would be left that is not drained" in err
    code, out, _ = typed("drill", "dc1", "--for", "1s", "--force")
    assert code == 1
    assert out.splitlines()[1:] == [
        "  COULD NOT MOVE: s2.default.dc1 as dc1 sees it: no healthy target would be left that is not drained",
        "NOT GOOD: 0 of 0 clusters moved; 0 back; 1 could not move",
    ]


def test_what_is_drained_already_is_not_drilled(typed: Typed) -> None:
    assert typed("drain", "dc1", "--for", "1h", "--reason", "works")[0] == 0
    code, _, err = typed("drill", "dc1", "--for", "10m")
    assert (code, "drill dc1: order d-1 until" in err, "drains it already; end that first" in err) == (1, True, True)
