"""`make bench` and its kin run, and the adapters keep what they measure within their bounds."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.bench import growth
from tests.bench.__main__ import main
from tests.bench.curves import curve
from tests.bench.fan_out import WAYS, fan_out, told
from tests.bench.table import Beside, Measured, percentile, table

_MOST_SECONDS = {200: 0.05, 2000: 0.5}
"""By how many wait: the last has a change after so long at most, also on a machine that has other things to do."""


@pytest.mark.soak
@pytest.mark.envoy
def test_everything_is_measured_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick"])
    said = capsys.readouterr().out
    for what in (
        *("gRPC, p50 of 4", "REST, p99 of 4", "files, p50 of 4", "last of 20 streams", "last of 20 held polls"),
        *("10 endpoints, 77 KB", "100 clusters, small", "recompute a resolver", "events acknowledged", "nothing new"),
        *("storm: 12 instances of 3 services", "5 proxies join", "one of 20 instances", "20 ms a request"),
        *("cold start of ingest", "two fdatasync", "an empty application", "a server that only writes"),
    ):
        assert what in said


def test_what_grows_is_measured_told_and_drawn(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["--scale", "--quick", "--draw", str(tmp_path)])
    said = capsys.readouterr().out
    for what in ("last of 20 streams", "apply of 3 resolvers x 3", "mesh of 5 resolvers", "of storms"):
        assert what in said
    for name in ("streams", "resolvers", "memory", "untouched", "instances", "storms"):
        drawn = (tmp_path / f"{name}.svg").read_text()
        assert ElementTree.fromstring(drawn).tag.endswith("svg")
        assert growth.commit() in drawn


def test_a_curve_is_where_its_points_are_and_the_same_every_time() -> None:
    lines = {"a": [(10, 1.0), (100, 2.0), (1000, 4.0)], "b & c": [(10, 0.0), (1000, 0.0)]}
    drawn = curve("a title", "sizes", "ms", lines, "commit 1234")
    assert drawn == curve("a title", "sizes", "ms", lines, "commit 1234")
    first, second = (each.get("points") for each in ElementTree.fromstring(drawn).iter() if "polyline" in each.tag)
    # Ten times as much is as far to the right each time, and four times as much four times as high.
    across, up = zip(*(map(float, point.split(",")) for point in (first or "").split()), strict=True)
    ground = float((second or "").partition(",")[2].split()[0])
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])
    assert [ground - each for each in up] == pytest.approx([(ground - up[0]) * each for each in (1, 2, 4)])


def test_a_number_that_misses_its_goal_is_marked_and_compared() -> None:
    rows = [
        Measured("a", 11.04, "ms", at_most=10, beside=Beside("the floor", 4)),
        Measured("b", 7650.4, "a second", at_least=5000),
    ]
    _, missed, met = table(rows).splitlines()
    assert missed.split() == ["a", "11.0", "ms", "<=", "10.0", "missed", "2.76", "x", "the", "floor", "(4.00)"]
    assert met.split() == ["b", "7,650", "a", "second", ">=", "5,000"]
    assert [percentile(range(200), share) for share in (0.5, 0.99, 1)] == [100, 198, 199]


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_a_change_reaches_two_thousand_who_wait(way: str, tmp_path: Path) -> None:
    for found in fan_out(way, tmp_path, [200, 2000], rounds=3):
        print(f"\n{told(way, found)}", end="")
        # The best of them: what else runs on the machine is not what is measured.
        assert min(found.times) < _MOST_SECONDS[found.waiting]
