"""Pointsman as its users have it: the command line, and `pointsman up` with its HTTP endpoint."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.fleet.envoy import ENVOY_1_40
from tests.fleet.object_store import Bucket
from tests.fleet.process import REPOSITORY, Child, FleetError, wait_until
from tests.fleet.ways import DELAY_MS, Tongue, Way

POINTSMAN = Path(sys.executable).parent / "pointsman"

_UNTOLD = Way(Tongue.FILES, told=False)


@dataclass(frozen=True, slots=True)
class Active:
    """Where the traffic of a resolver goes, and why, as `pointsman status` tells it; `since` is a Unix time."""

    datacenter: str
    why: str
    since: float


class Pointsman:
    """One store, and `pointsman up` that serves it while the `with` block lasts: Envoys fetch in the way that is given.

    `files` is where they read if they read files, `socket` where they ask if they ask.
    """

    def __init__(
        self,
        directory: Path,
        trust_domain: str,
        way: Way = _UNTOLD,
        bucket: Bucket | None = None,
        name: str = "up",
        listen: str = "127.0.0.1:0",
        more: Sequence[str | Path] = (),
    ) -> None:
        """In the file `store.db` of `directory`, or in a bucket. Events are taken at `listen`. `more` are other options
        of `up`."""
        self.store: str | Path = bucket.url if bucket else directory / "store.db"
        self._environment = bucket.environment if bucket else {}
        self.files = directory / "envoys"
        self.socket = directory / "xds.sock"
        self._trust_domain = trust_domain
        self._way = way
        self._listen = listen
        self._more = more
        self.said: Mapping[str, Any] = {}
        self._up = Child(name, [POINTSMAN, *self._up_arguments()], directory, self._environment)
        self._url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start `pointsman up`; returns when it has said that it is ready."""
        self.said = _started(self._up)
        self._url = self.said["url"]

    @property
    def url(self) -> str:
        """Where `up` takes events."""
        return self._url

    def stop(self) -> None:
        """Stop `pointsman up`."""
        self._up.stop()

    def kill(self) -> None:
        """Kill `pointsman up` as a power cut would."""
        self._up.kill()

    def tail(self) -> str:
        """The last that `pointsman up` wrote."""
        return self._up.tail()

    def apply(self, files: Iterable[Path]) -> None:
        """Write config entries and registrations, all or none."""
        self._run("apply", "--store", self.store, "--trust-domain", self._trust_domain, *files)

    def command(self, name: str, *arguments: str) -> str:
        """Run a command on the store, and return what it prints."""
        return self._run(name, *arguments, "--store", self.store)

    def bootstrap(self, proxy: str, datacenter: str, *options: str | Path) -> dict[str, Any]:
        """The bootstrap of a registered proxy: a sidecar by its service, a gateway (`--gateway`) by its ID."""
        where: dict[Tongue, tuple[str, str | Path]] = {
            Tongue.FILES: ("--files", self.files),
            Tongue.REST: ("--http", f"unix:{self.socket}"),
        }
        fetch = where.get(self._way.tongue, ("--grpc", f"unix:{self.socket}"))
        found = self._run("bootstrap", proxy, "--store", self.store, *fetch, "--dc", datacenter, *options)
        printed: dict[str, Any] = json.loads(found)
        fetched = printed["dynamic_resources"]
        if self._way.tongue is Tongue.REST:
            for each in ("cds_config", "lds_config"):
                fetched[each]["api_config_source"]["refresh_delay"] = f"{DELAY_MS / 1000:g}s"
        elif self._way.tongue is Tongue.SOTW:
            fetched["ads_config"]["api_type"] = "GRPC"
        return printed

    def active(self, service: str, datacenter: str) -> Active:
        """Which target of `service` serves the sidecars of `datacenter`."""
        return _active(json.loads(self._run("status", "--store", self.store, "--json")), service, datacenter)

    def serving(self, service: str, datacenter: str) -> Active:
        """The same, from `up`."""
        return _active(json.loads(self.page("/v1/status")), service, datacenter)

    def send(self, event: Mapping[str, Any]) -> float:
        """Send an event to `up`, wait until it is acknowledged: `time.perf_counter` just before its first byte."""
        sent, acknowledged = self.post(event)
        acknowledged()
        return sent

    def post(self, event: Mapping[str, Any]) -> tuple[float, Callable[[], None]]:
        """Send an event to `up`: `time.perf_counter` just before its first byte, and what waits until it is
        acknowledged, and has to be called."""
        address = urlsplit(self._url)
        body = json.dumps(event).encode()
        head = f"POST /v1/events HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

        def acknowledged() -> None:
            with contextlib.closing(connection):
                response = http.client.HTTPResponse(connection.sock)
                response.begin()
                answer = response.read()
            if response.status != 200:
                raise FleetError(f"the event was answered {response.status}: {answer.decode(errors='replace')}")

        try:
            connection.connect()
            sent = time.perf_counter()
            connection.sock.sendall(request)
        except OSError:
            connection.close()
            raise
        return sent, acknowledged

    def page(self, path: str) -> bytes:
        """What `up` answers to a GET of `path`."""
        with urlopen(f"{self._url}{path}", timeout=60) as answer:
            found: bytes = answer.read()
            return found

    def _up_arguments(self) -> list[str | Path]:
        where: list[str | Path] = ["--store", self.store, "--files", self.files, "--listen", self._listen]
        envoy = "1.40.0" if self._way.binary == ENVOY_1_40 else "1.39.3"
        version = ["--envoy-version", envoy] if self._way.told else []
        at = f"unix:{self.socket}"
        served: dict[Tongue, list[str | Path]] = {
            Tongue.FILES: [],
            Tongue.REST: ["--http", at, "--refresh-delay", str(DELAY_MS)],
        }
        network = served.get(self._way.tongue, ["--grpc", at])
        return ["up", *where, "--trust-domain", self._trust_domain, *version, *network, *self._more]

    def _run(self, *arguments: str | Path) -> str:
        command = [str(argument) for argument in (POINTSMAN, *arguments)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            cwd=REPOSITORY,
            env=os.environ | self._environment,
        )
        if done.returncode != 0:
            raise FleetError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout


def _active(status: Mapping[str, Any], service: str, datacenter: str) -> Active:
    for resolver in status["resolvers"]:
        if (resolver["service"], resolver["datacenter"]) == (service, datacenter):
            # A target's id is [subset.]service.namespace.datacenter.
            since = datetime.fromisoformat(resolver["since"]).timestamp()
            return Active(resolver["active"].rpartition(".")[2], resolver["why"], since)
    raise FleetError(f"the status does not know {service} in {datacenter}: {status}")


def _started(child: Child) -> dict[str, Any]:
    """Start a process and return what it said when it was ready."""
    before = child.out.stat().st_size if child.out.exists() else 0
    child.start()

    def first_line() -> bytes | None:
        line, end, _ = child.out.read_bytes()[before:].partition(b"\n")
        return line if end else None

    said: dict[str, Any] = json.loads(wait_until(first_line, f"{child.name} to be ready", children=[child]))
    return said
