"""Three datacenters on three loopback addresses, each with an agent, a service, Envoys and a `pointsman up`, as
docs/production.md has them; everything that one tells another goes over a link that can be cut."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from pointsman.store.bucket_url import read_bucket_url
from pointsman.store.probe import mark

from tests.adapter.link import Link
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import patient
from tests.fleet.control_plane import POINTSMAN
from tests.fleet.documents import (
    RESOLVER,
    Caller,
    Site,
    definitions,
    mesh_gateway,
    proxy_defaults,
    s1_sidecar,
    s2_sidecar,
)
from tests.fleet.envoy import Envoy, ready
from tests.fleet.object_store import ObjectStore
from tests.fleet.process import Child, Ports, wait_listening, wait_until

TRUST_DOMAIN = "mesh.example"
DATACENTERS = {"dc1": "127.0.0.1", "dc2": "127.0.0.2", "dc3": "127.0.0.3"}
HOME = "dc1"
LEASE_S = 3
CHECK_S = 1

_SETTLED = 30
"""Requests in a row that one datacenter answers."""

Part = Literal["service", "agent", "up", "host"]


class Producer:
    """Sends events to each `up` in turn, from a thread of its own while the `with` block lasts, and keeps the newest
    that each acknowledged."""

    _DATACENTER, _SOURCE = "dc1", "producer"

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = urls
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer")
        self.acknowledged = dict.fromkeys(urls, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def is_known(self, status: Mapping[str, Any], datacenter: str) -> bool:
        """Whether an `up` with this status knows all that it acknowledged."""
        found = [each["index"] for each in status["sources"] if each["source"] == self._SOURCE]
        return max(found, default=0) >= self.acknowledged[datacenter]

    def _run(self) -> None:
        index = 0
        while not self._stop.is_set():
            for datacenter, url in self._urls.items():
                index += 1
                with contextlib.suppress(OSError):
                    self._send(url, index)
                    self.acknowledged[datacenter] = index
            self._stop.wait(0.1)

    def _send(self, url: str, index: int) -> None:
        detail = {"Source": self._SOURCE, "Index": index, "Datacenter": self._DATACENTER, "Lease": "1h"}
        detail |= {"Service": f"other-{index % 7}", "Namespace": "default", "Kind": "service", "Instances": []}
        event = {"detail-type": "Service Health Changed", "detail": detail}
        body = json.dumps(event).encode()
        with urlopen(Request(f"{url}/v1/events", body, {"content-type": "application/json"}), timeout=2):
            pass


class Production:
    """The whole of it, healthy and with a client at work, while the `with` block lasts. All files in `directory`.

    With a `server`, each `up` is on a bucket of it and computes for all, and Envoys have the addresses of all three.
    Without, each has a file of its own and computes for its datacenter, and Envoys have the address of theirs.
    """

    def __init__(self, directory: Path, server: ObjectStore | None = None) -> None:
        self._directory, self._server = directory, server
        self._bucket = server.bucket("mesh") if server else None
        self._stores: dict[str, str] = {}
        self._held = contextlib.ExitStack()
        self._links: dict[tuple[str, str, str], Link] = {}
        self.children: dict[tuple[str, str], Child] = {}
        self._envoys: dict[tuple[str, str], Envoy] = {}
        self._authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            self._start(held)
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        for child in self.children.values():
            with contextlib.suppress(OSError, AssertionError):
                os.kill(child.pid, signal.SIGCONT)
        self._held.close()

    # ── what happens to it ──

    def parts(self, datacenter: str, part: Part) -> list[Child]:
        """The processes that make up a part of a datacenter."""
        names = {"service": ("app", "s2"), "agent": ("agent",), "up": ("up",)}.get(part)
        wanted = ("app", "s2", "gateway", "agent", "up") if names is None else names
        return [self.children[datacenter, name] for name in wanted]

    def kill(self, datacenter: str, part: Part) -> float:
        """Kill it without a word: the `time.perf_counter` just before."""
        began = time.perf_counter()
        for child in self.parts(datacenter, part):
            child.kill()
        return began

    def start(self, datacenter: str, part: Part) -> float:
        """Have it back: the `time.perf_counter` when it was started."""
        for child in self.parts(datacenter, part):
            child.start()
        return time.perf_counter()

    def freeze(self, datacenter: str, part: Part) -> float:
        """Stop it where it is: the `time.perf_counter` just before."""
        began = time.perf_counter()
        for child in self.parts(datacenter, part):
            os.kill(child.pid, signal.SIGSTOP)
        return began

    def thaw(self, datacenter: str, part: Part) -> float:
        """Have it go on."""
        for child in self.parts(datacenter, part):
            os.kill(child.pid, signal.SIGCONT)
        return time.perf_counter()

    def cut(self, datacenter: str) -> float:
        """Take the network of a datacenter away: nothing comes back from it, and nothing from elsewhere."""
        began = time.perf_counter()
        for (here, there, _), link in self._links.items():
            if datacenter in (here, there):
                link.cut(silent=True)
        return began

    def mend(self, datacenter: str) -> float:
        """Give it back."""
        for (here, there, _), link in self._links.items():
            if datacenter in (here, there):
                link.restore()
        return time.perf_counter()

    # ── what is seen of it ──

    def now(self) -> float:
        """The `time.perf_counter`."""
        return time.perf_counter()

    def served_by(self, datacenter: str, began: float, timeout: float = 120.0) -> float:
        """Seconds from `began` until a request that was sent after it was answered by `datacenter`; returns when
        nobody else answers any more."""

        def first() -> float | None:
            done = (each.done for each in self.client.attempts(began) if each.datacenter == datacenter)
            return next(done, None)

        def settled() -> bool:
            last = self.client.attempts(began)[-_SETTLED:]
            return len(last) == _SETTLED and {each.datacenter for each in last} == {datacenter}

        took = wait_until(first, f"an answer of {datacenter}", timeout=timeout) - began
        wait_until(settled, f"answers of {datacenter} alone", timeout=timeout)
        return took

    def stays(self, datacenter: str, seconds: float) -> None:
        """For so long `datacenter` alone answers; with "", nobody but who did before."""
        began = self.now()
        self.client.wait_past(began + seconds)
        answered = {each.datacenter for each in self.client.attempts(began)}
        assert answered <= {datacenter or None, None}, answered

    def status(self, datacenter: str) -> dict[str, Any]:
        """What the `up` of a datacenter knows."""
        with urlopen(f"{self.urls[datacenter]}/v1/status", timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def knows_all(self, datacenter: str) -> bool:
        """Whether the `up` of a datacenter has everybody as healthy, and heard of everybody lately."""
        try:
            found = self.status(datacenter)
        except OSError:
            return False
        heard = {each["datacenter"] for each in found["sources"] if not each["silent_since"]}
        targets = [target for each in found["resolvers"] for target in each["targets"]]
        return heard == DATACENTERS.keys() and all(target["healthy"] == 1 for target in targets)

    def has_somebody_ill(self, datacenter: str) -> bool:
        """Whether the `up` of a datacenter has anybody as ill."""
        try:
            found = self.status(datacenter)
        except OSError:
            return False
        return any(target["healthy"] == 0 for each in found["resolvers"] for target in each["targets"])

    def file(self, datacenter: str) -> Path:
        """The store of a datacenter, where each has its own."""
        return Path(self._store(datacenter))

    def wait_for_all_that_was_acknowledged(self) -> None:
        """Return when each `up` knows what it acknowledged to the producer."""

        def known(dc: str) -> bool:
            try:
                return self.producer.is_known(self.status(dc), dc)
            except OSError:
                return False

        for dc in DATACENTERS:
            assert self.producer.acknowledged[dc], f"the up of {dc} took nothing in"
            wait_until(lambda dc=dc: known(dc), f"the up of {dc} to know what it acknowledged")  # type: ignore[misc]

    def command(self, *words: str | Path) -> str:
        """Run a command; what it prints."""
        done = subprocess.run(
            [str(POINTSMAN), *map(str, words)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=os.environ | self._environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # ── how it comes about ──

    @property
    def _environment(self) -> Mapping[str, str]:
        return self._bucket.environment if self._bucket else {}

    def _store(self, datacenter: str) -> str:
        return self._stores.get(datacenter) or str(self._directory / datacenter / "pointsman.db")

    def _way_to_the_store(self, server: ObjectStore, dc: str) -> str:
        """The URL of the store as seen from a datacenter."""
        at = urlsplit(server.url)
        store = f"s3://mesh?endpoint={self._link(dc, 'the store', 'store', at.hostname or '', at.port or 0).url}"
        # By this way it was probed already.
        key, data = mark(read_bucket_url(store))
        server.client().put_object(Bucket="mesh", Key=key, Body=data)
        return store

    def _link(self, here: str, there: str, what: str, ip: str, port: int) -> Link:
        link = self._links[here, there, what] = Link(f"http://{ip}:{port}")
        self._held_now.enter_context(link)
        return link

    def _start(self, held: contextlib.ExitStack) -> None:
        self._held_now = held
        ports = held.enter_context(Ports())
        sites = {dc: Site(dc, ip, *(ports.take(ip) for _ in range(5))) for dc, ip in DATACENTERS.items()}
        home = sites[HOME]
        caller = Caller(home, *(ports.take(home.ip) for _ in range(3)))
        listens = {dc: (ip, ports.take(ip)) for dc, ip in DATACENTERS.items()}
        streams = {dc: (ip, ports.take(ip)) for dc, ip in DATACENTERS.items()}
        self.urls = {dc: f"http://{ip}:{port}" for dc, (ip, port) in listens.items()}
        for dc in DATACENTERS:
            (self._directory / dc).mkdir()
            if self._server is not None:
                self._stores[dc] = self._way_to_the_store(self._server, dc)
        for dc in DATACENTERS:
            self._add(held, dc, "up", self._up(dc, listens[dc], streams[dc]))
            self.children[dc, "up"].start()
        for dc in DATACENTERS:
            up = self.children[dc, "up"]
            wait_until(up.out.read_bytes, f"the up of {dc}", children=[up])
        gateways = {dc: self._link(HOME, dc, "gateway", site.ip, site.gateway) for dc, site in sites.items()}
        told = [self.urls[HOME]] if self._bucket else list(self.urls.values())
        self.command("apply", *(word for url in told for word in ("--url", url)), *self._documents(sites, caller))
        for dc, site in sites.items():
            self._add_site(held, dc, site, streams, gateways[dc], listens)
        identity = self._authority.issue("s1", HOME)
        s1 = self._bootstrap(HOME, "s1", streams, ("--admin", f"{home.ip}:{caller.admin}"), identity)
        self._add(held, HOME, "s1", Envoy("s1-dc1", s1, self._directory))
        for key, child in self.children.items():
            if key[1] != "up":
                child.start()
        ready([child for child in self.children.values() if isinstance(child, Envoy)])
        for dc, site in sites.items():
            wait_listening(self.children[dc, "app"], site.ip, site.app)
        wait_until(lambda: all(map(self.knows_all, DATACENTERS)), "all to know of all", timeout=120)
        self.producer = held.enter_context(Producer(self.urls))
        self.client = held.enter_context(patient(home.ip, caller.upstream, interval=0.01))
        self.client.wait_for_answer(HOME, after=0.0)

    def _add(self, held: contextlib.ExitStack, dc: str, name: str, child: Child) -> None:
        self.children[dc, name] = child
        held.callback(child.stop)

    def _add_site(
        self,
        held: contextlib.ExitStack,
        dc: str,
        site: Site,
        streams: Mapping[str, tuple[str, int]],
        gateway: Link,
        listens: Mapping[str, tuple[str, int]],
    ) -> None:
        app = [sys.executable, "-m", "tests.fleet.app", "--name", dc, "--address", site.ip, "--port", str(site.app)]
        self._add(held, dc, "app", Child(f"app-{dc}", app, self._directory))
        identity = self._authority.issue("s2", dc)
        s2 = self._bootstrap(dc, "s2", streams, ("--admin", f"{site.ip}:{site.sidecar_admin}"), identity)
        self._add(held, dc, "s2", Envoy(f"s2-{dc}", s2, self._directory))
        admin = ("--gateway", "--admin", f"{site.ip}:{site.gateway_admin}")
        made = self._bootstrap(dc, site.gateway_id, streams, admin, None)
        self._add(held, dc, "gateway", Envoy(f"gateway-{dc}", made, self._directory))
        services = definitions(site)
        at = gateway.url.rpartition(":")
        services["services"][1]["tagged_addresses"] = {"wan": {"address": "127.0.0.1", "port": int(at[2])}}
        file = self._directory / f"services-{dc}.json"
        file.write_text(json.dumps(services))
        told: list[str] = []
        for there, (ip, port) in listens.items():
            told += ["--to", self.urls[there] if there == dc else self._link(dc, there, "events", ip, port).url]
        who = ["--dc", dc, "--node", f"node-{dc}", "--address", site.ip, "--lease", f"{LEASE_S}s"]
        kept = ["--state", str(self._directory / dc / "agent"), "--no-register"]
        self._add(
            held, dc, "agent", Child(f"agent-{dc}", [POINTSMAN, "agent", *who, *told, *kept, file], self._directory)
        )

    def _up(self, dc: str, listen: tuple[str, int], stream: tuple[str, int]) -> Child:
        scope = [] if self._bucket else ["--datacenters", dc]
        where = ["--listen", f"{listen[0]}:{listen[1]}", "--grpc", f"{stream[0]}:{stream[1]}"]
        words = ["up", "--store", self._store(dc), "--trust-domain", TRUST_DOMAIN, *where, *scope]
        keep = ["--keep", str(self._directory / dc / "kept")]
        return Child(f"up-{dc}", [POINTSMAN, *words, *keep], self._directory, self._environment)

    def _bootstrap(
        self, dc: str, name: str, streams: Mapping[str, tuple[str, int]], options: tuple[str, ...], identity: Any
    ) -> dict[str, Any]:
        first = {dc: streams[dc], **streams} if self._bucket else {dc: streams[dc]}
        grpc: list[str] = []
        for there, (ip, port) in first.items():
            place = f"{ip}:{port}"
            if there != dc:
                link = self._links.get((dc, there, "xds")) or self._link(dc, there, "xds", ip, port)
                place = link.url.removeprefix("http://")
            grpc += ["--grpc", place]
        secrets = (
            ("--certificate", identity.certificate, "--private-key", identity.private_key, "--ca", identity.ca)
            if identity
            else ()
        )
        said = self.command("bootstrap", name, "--store", self._store(dc), "--dc", dc, *grpc, *options, *secrets)
        found: dict[str, Any] = json.loads(said)
        return found

    def _documents(self, sites: Mapping[str, Site], caller: Caller) -> Iterator[Path]:
        resolver = self._directory / "s2.hcl"
        resolver.write_text(RESOLVER)
        yield resolver
        documents: dict[str, Any] = {"defaults": proxy_defaults("remote"), "s1": s1_sidecar(caller)}
        for dc, site in sites.items():
            documents[f"s2-{dc}"] = s2_sidecar(site, self._directory / f"sidecar-{dc}.access.log")
            documents[f"gateway-{dc}"] = mesh_gateway(site, self._directory / f"gateway-{dc}.access.log")
        for name, document in documents.items():
            file = self._directory / f"{name}.json"
            file.write_text(json.dumps(document))
            yield file
