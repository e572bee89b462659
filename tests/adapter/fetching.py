"""A sidecar and the adapter that it fetches from, for every way to fetch."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pointsman.adapter.files.files_adapter import FilesAdapter
from pointsman.adapter.follow.follower import Follower
from pointsman.bootstrap.document import (
    Address,
    Fetch,
    FetchFiles,
    FetchGrpc,
    FetchHttp,
    Host,
    IpPort,
    Node,
    SecretFiles,
    UnixSocket,
    sidecar_bootstrap,
)
from pointsman.delivery.endpoint_source import over_rest
from pointsman.store.protocol import Store

from tests.adapter import rest, streams
from tests.adapter.dns import Dns
from tests.adapter.node import NEW, OLD, S1
from tests.fleet.ca import CertificateAuthority
from tests.fleet.envoy import ENVOY_1_40, Envoy
from tests.fleet.process import Ports, wait_until
from tests.fleet.ways import DELAY_MS, Tongue, Way

OVER_REST: dict[str, Any] = {
    "source": over_rest("pointsman", DELAY_MS, 60_000),
    "refresh_delay_ms": DELAY_MS,
    "settle": 0.3,
}


class Fetching:
    """The sidecar of s1 in dc1, and the adapter that it fetches from, while the `with` block lasts.

    The adapter can be taken away and come back; a new one knows nothing of the one before.
    """

    def __init__(
        self,
        way: Way,
        store: Store,
        directory: Path,
        ports: Ports,
        authority: CertificateAuthority,
        *,
        drain_time_s: int | None = None,
        dns: Dns | None = None,
        host: Host | None = None,
        **options: Any,
    ) -> None:
        self.way = way
        self._store, self._directory, self._options = store, directory, options
        self._held, self._running = contextlib.ExitStack(), contextlib.ExitStack()
        self._adapter: Any = None
        self._bootstrap = sidecar(self.fetch, authority, ports, host) | (dns.in_bootstrap() if dns else {})
        self.envoy = Envoy("s1", self._bootstrap, directory, way.binary, drain_time_s=drain_time_s)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            held.callback(self.stop_adapter)
            self.start_adapter()
            if self.way.tongue is Tongue.FILES:
                wait_until((self._directory / "envoys" / S1.directory / "lds.pb").exists, "the files")
            held.enter_context(self.envoy)
            self.envoy.wait_ready()
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    def start_adapter(self) -> None:
        """Start an adapter if none runs."""
        at = f"unix:{self._socket}"
        if self.way.tongue is Tongue.FILES:
            version = (NEW if self.way.binary == ENVOY_1_40 else OLD) if self.way.told else None
            self._adapter = FilesAdapter(
                Follower(self._store, [S1]), self._directory / "envoys", version, **self._options
            )
            self._running.enter_context(running(self._adapter))
        elif self.way.tongue is Tongue.REST:
            self._adapter = self._running.enter_context(rest.Adapter(self._store, at, **OVER_REST, **self._options))
        else:
            self._adapter = self._running.enter_context(streams.Adapter(self._store, at, **self._options))

    def stop_adapter(self) -> None:
        """Take it away."""
        self._running.close()

    @property
    def follower(self) -> Follower:
        """What the adapter follows."""
        found: Follower = self._adapter._follower if self.way.tongue is Tongue.FILES else self._adapter.follower
        return found

    @property
    def metrics(self) -> str:
        """The page for Prometheus; files have none."""
        return "" if self.way.tongue is Tongue.FILES else self._adapter.metrics.text().decode()

    def problems(self) -> Mapping[Any, Sequence[str]]:
        """By proxy, why it does not get what the store has."""
        found: Mapping[Any, Sequence[str]] = (
            self._adapter.problems() if self.way.tongue is Tongue.FILES else self.follower.all_problems()
        )
        return found

    def rejections(self) -> list[Any]:
        """What the adapter knows of what its Envoy rejected: nothing over files."""
        return [] if self.way.tongue is Tongue.FILES else self._adapter.adapter.rejections()

    def config_dump(self) -> dict[str, Any]:
        """The page for operators; files have none."""
        return {} if self.way.tongue is Tongue.FILES else self._adapter.adapter.config_dump()

    def rejected(self) -> dict[str, int]:
        """The Envoy's own counters of what it rejected, those that are not 0."""
        counters = self.envoy.counters(r".*\.update_rejected$")
        return {name: value for name, value in counters.items() if value}

    @property
    def fetch(self) -> Fetch:
        """How Envoys fetch from the adapter."""
        match self.way.tongue:
            case Tongue.FILES:
                return FetchFiles(str(self._directory / "envoys" / S1.directory))
            case Tongue.REST:
                return FetchHttp(UnixSocket(str(self._socket)), refresh_delay_ms=DELAY_MS)
            case _:
                return FetchGrpc(UnixSocket(str(self._socket)), delta=self.way.tongue is Tongue.DELTA)

    @property
    def _socket(self) -> Path:
        return self._directory / "xds.sock"


def sidecar(fetch: Fetch, authority: CertificateAuthority, ports: Ports, host: Host | None = None) -> dict[str, Any]:
    """The bootstrap of the sidecar of s1 in dc1, on `host`; without one no client calls s1 itself."""
    identity = authority.issue("s1", "dc1")
    admin, public, app = (ports.take("127.0.0.1") for _ in range(3))
    return sidecar_bootstrap(
        Node("s1-1", "s1", "dc1"),
        Address("127.0.0.1", admin),
        fetch,
        secrets=SecretFiles(str(identity.certificate), str(identity.private_key), str(identity.ca)),
        host=host or Host(IpPort("127.0.0.1", public), IpPort("127.0.0.1", app)),
    )


def balanced(bootstrap: Mapping[str, Any], ports: Iterable[int]) -> None:
    """Have several adapters behind the one address in `bootstrap`."""
    (xds,) = (each for each in bootstrap["static_resources"]["clusters"] if each["name"] == "pointsman")
    places = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
    xds["lb_policy"] = "RANDOM"
    xds["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": place}} for place in places]}]


@contextlib.contextmanager
def running(adapter: FilesAdapter) -> Iterator[None]:
    """Run an adapter of files in a thread of its own within the block."""
    stop = threading.Event()
    thread = threading.Thread(target=adapter.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
