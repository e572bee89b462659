"""Real Envoys on a store that goes back: they follow it, and never anything else.

Every story ends with the outage that matters: s2 dies in dc1, and the requests have to go to dc2.
"""

import json
import shutil
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import pytest
from pointsman.adapter.follow.follower import Follower
from pointsman.store import keys
from pointsman.store.protocol import Write
from pointsman.store.sqlite import SQLiteStore
from pointsman.xds.content import compute
from pointsman.xds.manifest import SidecarManifest

from tests.adapter import stand
from tests.adapter.doubles import Remote, Stale
from tests.adapter.fetching import Fetching
from tests.adapter.node import MANIFEST, S1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN, Publisher, instances, sidecar_plan
from tests.adapter.targets import gateways, places
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import patient
from tests.fleet.documents import RESOLVER, Caller, Site, gateway_health, proxy_defaults, s1_sidecar, s2_health
from tests.fleet.envoy import ENVOY_1_39, Envoy
from tests.fleet.handmade import upstream_listener
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import Tongue, Way
from tests.machine.test_up_on_envoy import Up

pytestmark = pytest.mark.envoy

CLUSTER = f"s2.default.dc1.internal.{TRUST_DOMAIN}"
FLIPS = 5


class Machine:
    """`pointsman up`, the sidecar of s1 with its upstream s2, and gateways that answer as the datacenter that the SNI
    names, while the `with` block lasts."""

    def __init__(self, way: Way, directory: Path) -> None:
        self._held, self._way, self._directory = ExitStack(), way, directory
        self._ports = self._held.enter_context(Ports())
        self._places = places(self._ports, DATACENTERS)
        # In dc1 there is nobody in between: who is there stands for s2 itself.
        ports = {dc: self._places[dc][1] for dc in DATACENTERS}
        self._sites = {dc: Site(dc, ip, 1, ports[dc], 1, ports[dc], 1) for dc, ip in DATACENTERS.items()}
        self._caller = Caller(self._sites["dc1"], *(self._ports.take("127.0.0.1") for _ in range(3)))
        self.up = Up(directory, TRUST_DOMAIN, way)
        self._index = 0

    def __enter__(self) -> Self:
        with ExitStack() as held:
            held.enter_context(self._held)
            authority = CertificateAuthority(self._directory / "ca", TRUST_DOMAIN)
            self._gateways = held.enter_context(gateways(authority, "s2", self._places))
            self.configure()
            held.enter_context(self.up)
            self.tell_all()
            identity = authority.issue("s1", "dc1")
            secrets = ("--certificate", identity.certificate, "--private-key", identity.private_key)
            admin = ("--admin", f"127.0.0.1:{self._caller.admin}")
            bootstrap = self.up.bootstrap("s1", "dc1", *secrets, "--ca", identity.ca, *admin)
            self.envoy = held.enter_context(Envoy("s1", bootstrap, self._directory, self._way.binary))
            self.envoy.wait_ready()
            self.client = held.enter_context(patient("127.0.0.1", self._caller.upstream, 0.01))
            self.wait_for("dc1")
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    def configure(self) -> None:
        """Write the config into the store, which is made if it is not there."""
        documents = {
            "defaults.json": json.dumps(proxy_defaults("remote")),
            "s1.json": json.dumps(s1_sidecar(self._caller)),
        }
        for name, text in {**documents, "s2.hcl": RESOLVER}.items():
            (self._directory / name).write_text(text)
        self.up.apply(self._directory / name for name in (*documents, "s2.hcl"))

    def tell_all(self) -> None:
        """Every datacenter tells that all is well."""
        for site in self._sites.values():
            self.up.send(gateway_health(site, self._next()))
            self.report(site.datacenter, "passing")

    def report(self, datacenter: str, status: str) -> None:
        """Tell the health of s2 in a datacenter."""
        self.up.send(s2_health(self._sites[datacenter], status, self._next()))

    def flip(self, times: int) -> None:
        """Have s2 die in dc1 and come back, one after the other: each is seen by the Envoy."""
        for number in range(times):
            self.report("dc1", "passing" if number % 2 else "critical")
            self.wait_for("dc1" if number % 2 else "dc2")

    def wait_for(self, datacenter: str) -> None:
        """Return when a request that was sent from now on was answered by `datacenter`."""
        now = time.perf_counter()
        wait_until(
            lambda: any(each.datacenter == datacenter for each in self.client.attempts(now)),
            f"{datacenter} to answer",
            children=[self.envoy],
            timeout=60,  # an Envoy whose adapter was away for long comes back as late as that
        )

    def outage(self) -> None:
        """s2 dies in dc1, wherever the requests went so far: they go to dc2, and nowhere did an SNI meet another's
        endpoints."""
        self.report("dc1", "critical")
        self.wait_for("dc2")
        assert self._gateways.seen <= {(datacenter, datacenter) for datacenter in DATACENTERS}

    def _next(self) -> int:
        self._index += 1
        return self._index


def serving(follower: Follower) -> str:
    """The datacenter that an adapter would have the Envoy send to."""
    view = follower.view(S1)
    return view.snapshots["s2.default.dc1"].content.active[-3:] if view else ""


def files_of(store: Path) -> list[Path]:
    """The files of a store."""
    return sorted(store.parent.glob(f"{store.name}*"))


def copy(store: Path, to: Path) -> None:
    """Replace the store by a copy, while no process has it open."""
    for each in files_of(to):
        each.unlink()
    for each in files_of(store):
        shutil.copy(each, to.parent / each.name.replace(store.name, to.name))


QUICK = [Way(Tongue.DELTA)]
LONG = [
    Way(Tongue.REST, ENVOY_1_39),
    Way(Tongue.SOTW),
    Way(Tongue.SOTW, ENVOY_1_39),
    Way(Tongue.DELTA, ENVOY_1_39),
    Way(Tongue.REST),
]
BEHIND = [Way(Tongue.SOTW), Way(Tongue.REST, ENVOY_1_39)]
BEHIND_LONG = [Way(Tongue.DELTA), *LONG[2:]]
"""Each protocol is in one of the two stories that `make test` tells, and all of them are in both where it is longer."""


@pytest.mark.parametrize("way", [*QUICK, *(pytest.param(each, marks=pytest.mark.soak) for each in LONG)], ids=str)
def test_an_envoy_follows_a_store_that_was_restored_mended_by_hand_or_made_anew(way: Way, tmp_path: Path) -> None:
    with Machine(way, tmp_path) as machine:
        store, saved = machine.up.store, tmp_path / "saved" / "store.db"
        saved.parent.mkdir()
        head = keys.snapshot("dc1/sidecar/s2.default.dc1")

        # The store is restored from what it was five switches ago.
        machine.up.stop()
        copy(store, saved)
        machine.up.start()
        machine.flip(FLIPS + 1)
        machine.up.stop()
        copy(saved, store)
        machine.up.start()
        machine.outage()
        assert machine.up.page("rejections")["resets"]

        # One object is, by hand, while everything runs.
        machine.report("dc1", "passing")
        machine.wait_for("dc1")
        with closing(SQLiteStore(store)) as opened:
            before = opened.get(head)
            machine.flip(FLIPS + 1)
            now = opened.get(head)
            assert before
            assert now
            assert opened.put(Write(head, before.data, now.etag)).etag
        machine.outage()

        # Nothing is left, and all is made anew.
        machine.up.stop()
        for each in files_of(store):
            each.unlink()
        machine.configure()
        machine.up.start()
        machine.tell_all()
        machine.wait_for("dc1")
        machine.outage()
        ready = machine.up.page("readyz")
        assert (ready["ready"], ready["ahead"]) == (True, [])
        assert machine.up.page("rejections")["rejections"] == []


@pytest.mark.parametrize("way", ["files", *(pytest.param(each, marks=pytest.mark.soak) for each in ("http", "grpc"))])
def test_an_adapter_that_keeps_the_last_known_good_on_disk_goes_back_with_the_store(
    way: stand.Way, tmp_path: Path
) -> None:
    with (
        closing(Remote(tmp_path / "store.db")) as store,
        stand.Stand(way, store, str(tmp_path / "store.db"), tmp_path) as placed,
    ):
        saved = store.backup()
        for datacenter in ("dc3", "dc2", "dc3"):
            placed.publish(datacenter)
            placed.wait_for_switch(datacenter)
        placed.adapter.stop()
        store.restore(saved)
        placed.start_adapter()
        placed.wait_for_switch("dc2")
        assert any("snapshots/" in each["what"] for each in placed.page("rejections")["resets"])
        placed.publish("dc3")
        placed.wait_for_switch("dc3")


@pytest.mark.parametrize(
    "way", [*BEHIND, *(pytest.param(each, marks=pytest.mark.soak) for each in BEHIND_LONG)], ids=str
)
def test_an_adapter_that_is_behind_never_takes_an_envoy_back(way: Way, tmp_path: Path) -> None:
    store, now = SQLiteStore(tmp_path / "store.db"), time.perf_counter
    with Ports() as ports, closing(store):
        authority, publisher = CertificateAuthority(tmp_path / "ca", TRUST_DOMAIN), Publisher(store)
        where, upstream = places(ports, DATACENTERS), ports.take("127.0.0.1")

        def publish(datacenter: str, generation: int) -> None:
            found = instances([datacenter], {each: port for each, (_, port) in where.items()})
            publisher.head(sidecar_plan(), compute(sidecar_plan(), found, TRUST_DOMAIN))
            listener = upstream_listener("s2", "127.0.0.1", upstream, CLUSTER).SerializeToString()
            publisher.manifest(MANIFEST, SidecarManifest(generation, ("s2.default.dc1",), (listener,)))

        publish("dc1", 1)
        store.close()
        copy(tmp_path / "store.db", tmp_path / "earlier.db")
        store = SQLiteStore(tmp_path / "store.db")
        publisher = Publisher(store)
        publish("dc2", 2)
        publish("dc3", 3)
        fetching = Fetching(way, store, tmp_path, ports, authority)
        with gateways(authority, "s2", where), fetching, patient("127.0.0.1", upstream, 0.01) as client:
            client.wait_for_answer("dc3", after=0.0)
            fetching.stop_adapter()
            behind = fetching._store = Stale(tmp_path / "store.db", tmp_path / "earlier.db")
            began = now()
            fetching.start_adapter()
            wait_until(lambda: behind.read, "it to read what the store itself has")
            wait_until(lambda: serving(fetching.follower) == "dc3", "it to have that")
            wait_until(lambda: not fetching.follower.ahead, "the Envoy to be ahead no more")
            # And it goes on being told of what was.
            publish("dc2", 4)
            client.wait_for_answer("dc3", after=now())
            client.wait_past(now())
            assert {each.datacenter for each in client.attempts(began)} == {"dc3"}
            assert fetching.follower.resets.all() == []
            fetching.stop_adapter()
            behind.close()
