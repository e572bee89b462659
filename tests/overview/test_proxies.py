"""Which Envoy is behind: what adapters told, beside what the store has."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pointsman.adapter.rest.askers import ASKED_SECONDS, MOST_ASKERS, PATIENCE_SECONDS, Askers
from pointsman.adapter.rest.rejections import Rejections
from pointsman.cli.main import run
from pointsman.cli.proxies import MOST_WELL
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.mark import Mark
from pointsman.discovery.request import read_request
from pointsman.model.era import NO_ERA
from pointsman.model.seen import (
    LONGEST_REASON,
    MOST_ENVOYS,
    MOST_LACKS,
    Lack,
    Seen,
    SeenEnvoy,
    SeenProxy,
    State,
    Why,
    bounded,
    read_seen,
    seen_json,
)
from pointsman.model.stored import Damaged
from pointsman.overview.proxies import (
    MOST_MISSING,
    ON_ITS_WAY_SECONDS,
    TOLD_LATE_SECONDS,
    Cluster,
    Due,
    EnvoyView,
    proxies,
)
from pointsman.pipeline import seen as stored_seen
from pointsman.pipeline.configure import configure, parse_documents
from pointsman.pipeline.seen import Told, told_by_adapters, write_seen
from pointsman.store.sqlite import SQLiteStore

from tests.adapter.rest import NODE
from tests.pipeline.meshes import engine_on, resolver, sidecar

KEY = "dc1/sidecar/default/s1"
OLD, NEW = "2026-01-01T12:00:00.000Z", "2026-01-01T12:01:00.000Z"
PUBLISHED = 1767268860.0
"""NEW, in seconds since 1970."""

CURRENT, OTHER = Mark("m", "new"), Mark("m", "old")


def told(mark: Mark, written: float, newest: str, *envoys: SeenEnvoy, adapter: str = "a", more: int = 0) -> Told:
    proxy = SeenProxy(KEY, mark.manifests, mark.clusters, newest, (), envoys or (SeenEnvoy("s1-1", "ads", OLD),))
    return Told(Seen(adapter, OLD, (proxy,), more), written)


def shown(now: float, *seen: Told, clusters: int = 1, registered: tuple[str, ...] = (KEY,)) -> list[EnvoyView]:
    due = {f"c{number:02}": Cluster(NO_ERA, 2, NEW) for number in range(clusters)}
    wanted = {KEY, *registered}
    return list(proxies(now, seen, {KEY: Due(CURRENT, due, 0.0)}, registered, wanted).envoys)


def test_who_has_what_the_store_has_is_current_and_who_has_not_is_behind_once_it_should_have_been_told() -> None:
    (view,) = shown(PUBLISHED + 500, told(CURRENT, PUBLISHED, NEW))
    assert (view.state, view.behind_s) == (State.CURRENT, 0.0)
    # An adapter writes once a minute: until then nobody knows.
    for now, state in ((TOLD_LATE_SECONDS, State.CHANGING), (TOLD_LATE_SECONDS + 1, State.BEHIND)):
        (view,) = shown(PUBLISHED + now, told(OTHER, PUBLISHED - 100, OLD))
        assert view.state == state
    assert (view.behind_s, view.missing) == (TOLD_LATE_SECONDS + 1, ("c00",))
    # One that wrote after the change, and does not have it, says so itself.
    for later, state in ((ON_ITS_WAY_SECONDS, State.CHANGING), (ON_ITS_WAY_SECONDS + 1, State.BEHIND)):
        (view,) = shown(PUBLISHED + 20, told(OTHER, PUBLISHED + later, OLD))
        assert view.state == state
    (view,) = shown(PUBLISHED + 999, told(OTHER, PUBLISHED, OLD), clusters=MOST_MISSING + 1)
    assert len(view.missing) == MOST_MISSING


def test_the_worst_come_first_and_an_envoy_that_moved_is_with_its_new_adapter() -> None:
    reason = Lack(Why.REJECTED, "listeners", "s2", "no", OLD)
    silent = Lack(Why.UNANSWERED, "endpoints", "", "", NEW)
    envoys = [
        SeenEnvoy("well", "ads", OLD),
        SeenEnvoy("gone", "rest", OLD, (Lack(Why.RETIRED, "", "", "", OLD),)),
        SeenEnvoy("newer", "ads", OLD, (Lack(Why.AHEAD, "", "", "", OLD),)),
        SeenEnvoy("slow", "ads", OLD, (silent,)),
        SeenEnvoy("rejects", "ads", OLD, (silent, reason)),
    ]
    other = "dc1/sidecar/default/s9"
    found = shown(PUBLISHED + 60, told(CURRENT, PUBLISHED, NEW, *envoys), registered=(KEY, other))
    assert [(each.node, each.state) for each in found] == [
        ("rejects", State.REJECTING),
        ("slow", State.BEHIND),
        ("newer", State.AHEAD),
        ("gone", State.RETIRED),
        ("", State.UNSEEN),
        ("well", State.CURRENT),
    ]
    assert [each.behind_s for each in found[:3]] == [120.0, 60.0, 0.0]
    assert found[4].proxy == other
    moved = [told(OTHER, PUBLISHED + 1, OLD), told(CURRENT, PUBLISHED + 50, NEW, adapter="b")]
    assert [(each.adapter, each.state) for each in shown(PUBLISHED + 60, *moved)] == [("b", State.CURRENT)]
    # Where not all Envoys are named, nobody is said to be unseen.
    (view,) = shown(PUBLISHED + 60, told(CURRENT, PUBLISHED, NEW, more=1), registered=(KEY, other))
    assert view.state == State.CURRENT


def test_what_an_adapter_tells_is_bounded_and_the_worst_is_kept() -> None:
    lacks = tuple(Lack(Why.UNANSWERED, "endpoints", f"e{number}", "x" * 999, NEW) for number in range(MOST_LACKS))
    ill = SeenEnvoy("ill", "ads", OLD, (*lacks, Lack(Why.REJECTED, "clusters", "c", "y" * 999, NEW)))
    well = tuple(SeenEnvoy(f"well-{number}", "ads", OLD) for number in range(MOST_ENVOYS))
    seen = Seen(
        "a", OLD, (SeenProxy("a/sidecar/default/w", "", "", "", (), well), SeenProxy(KEY, "", "", "", (), (ill,)))
    )
    found = bounded(seen)
    assert found.more == 1
    assert sum(len(each.envoys) for each in found.proxies) == MOST_ENVOYS
    (kept,) = found.proxies[1].envoys
    assert len(kept.lacks) == MOST_LACKS
    assert (kept.lacks[0].why, kept.lacks[0].reason) == (Why.REJECTED, "y" * LONGEST_REASON)
    assert read_seen(json.loads(json.dumps(seen_json(found)))) == found
    assert len(json.dumps(seen_json(found))) < 1_000_000
    for damage in ([], {"proxies": 1}, {"proxies": [1]}, {"proxies": [{"envoys": [{"lacks": 1}]}]}):
        body: Any = seen_json(seen) | damage if isinstance(damage, dict) else damage
        with pytest.raises(Damaged):
            read_seen(body)


def test_over_rest_who_does_not_ask_again_has_not_taken_its_answer() -> None:
    rejections = Rejections()
    askers = Askers(rejections, polled=2.0)
    request = read_request(ResourceKind.CLUSTERS, json.dumps({"node": NODE}).encode())
    askers.asked(request.asker, 100.0)
    rejections.sent(request, "v2", 100.0)

    def reached(*_: object) -> str:
        return ""

    def waiting(now: float, has: bool = True) -> list[str]:
        return [each.token for found in askers.all(now, lambda *_: has, reached) for each in found.waiting]

    assert waiting(100.0 + 2.0 + PATIENCE_SECONDS) == []
    assert waiting(100.1 + 2.0 + PATIENCE_SECONDS) == ["v2"]
    assert waiting(100.1 + 2.0 + PATIENCE_SECONDS, has=False) == [], "it is not to have that any more"
    assert len(askers.all(99.9 + ASKED_SECONDS, lambda *_: True, reached)) == 1
    assert askers.all(100.0 + ASKED_SECONDS, lambda *_: True, reached) == []
    for number in range(MOST_ASKERS):
        askers.asked(replace(request.asker, node_id=f"another-{number}"), 101.0)
    assert len(askers.all(101.0, lambda *_: True, reached)) == MOST_ASKERS


def test_a_terminal_shows_so_many_that_are_well_and_json_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SQLiteStore(str(tmp_path / "pointsman.db"), create=True)
    engine = engine_on(store)
    configure(engine, parse_documents([resolver("s2"), sidecar("s1", "s2")]))
    envoys = tuple(SeenEnvoy(f"s1-{number}\x1b[2J", "ads", OLD) for number in range(MOST_WELL + 2))
    seen = Seen("host-7", OLD, (SeenProxy("dc1/sidecar/default/s8", "", "", "", (), envoys),))
    write_seen(store, "one", seen, "n", None)
    monkeypatch.setattr(stored_seen, "MOST_ADAPTERS", 2)
    for number in range(2):
        write_seen(store, f"two{number}", replace(seen, adapter="another", proxies=()), "n", None)
    now = max(each.written for each in store.list("seen/"))
    assert [each.seen.adapter for each in told_by_adapters(store, now)] == ["another", "another"]
    monkeypatch.undo()
    store.close()
    where = ["--store", str(tmp_path / "pointsman.db")]
    assert run(["proxies", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"adapter host-7: {MOST_WELL + 2} Envoys, told at 2026-01-01 12:00 UTC" in lines
    assert "\x1b" not in "".join(lines)
    assert "and 2 more with nothing wrong; --json shows all" in lines
    assert run(["proxies", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["counts"] == dict.fromkeys(State, 0) | {"current": MOST_WELL + 2, "unseen": 1}
