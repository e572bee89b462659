"""One machine: the verbs, the HTTP intake, the followers, the files and ADS, in one process on one store."""

import errno
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self

import orjson
import uvicorn

from pointsman.adapter.files.adapter import FilesAdapter
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.intake import intake
from pointsman.adapter.serve.listen import Listen
from pointsman.model.errors import InvalidInput, PointsmanError
from pointsman.pipeline.configure import Batch, configure
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.reconcile import reconcile
from pointsman.store.open import open_store
from pointsman.store.protocol import Store

_DISCOVERY_SECONDS = 0.5
"""How soon a proxy that somebody else registered gets its files."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?\Z")


@dataclass(frozen=True, slots=True)
class Settings:
    """What `pointsman up` is told, checked.

    `envoy_version` None: unknown; `files` None: none are kept; `grpc` None: nothing is served over gRPC.
    """

    store: str
    trust_domain: str
    address: str
    port: int
    files: Path | None
    envoy_version: tuple[int, int, int] | None
    reconcile_every: int
    grpc: Listen | None = None

    @classmethod
    def read(
        cls,
        store: str,
        trust_domain: str,
        listen: str,
        files: str,
        envoy_version: str,
        reconcile_every: int,
        grpc: str = "",
    ) -> Self:
        """From the command line's texts. Raises InvalidInput."""
        address, _, port = listen.rpartition(":")
        try:
            loopback = ip_address(address.strip("[]")).is_loopback
        except ValueError:
            raise InvalidInput.single("--listen", "", f'"{listen}" is not IP:PORT') from None
        if not port.isdecimal() or int(port) > 65535:
            raise InvalidInput.single("--listen", "", f'"{listen}" is not IP:PORT')
        if not loopback:
            reason = f'"{address}" is not a loopback address: whoever reaches the port decides where traffic goes'
            raise InvalidInput.single("--listen", "", f"{reason}; put a proxy with authentication before it")
        version = _VERSION.match(envoy_version)
        if envoy_version and not version:
            raise InvalidInput.single("--envoy-version", "", f'"{envoy_version}" is not a version like 1.40.0')
        return cls(
            store,
            trust_domain,
            address.strip("[]"),
            int(port),
            Path(files).resolve() if files else None,
            (int(version[1]), int(version[2]), int(version[3] or 0)) if version else None,
            reconcile_every,
            _local(grpc) if grpc else None,
        )


class Machine:
    """The process behind `pointsman up`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._grpc_at: str | None = None

    def run(self) -> None:
        """Serve until a signal ends it. Raises PointsmanError if it cannot start; then nothing was changed."""
        logging.basicConfig(format="pointsman: %(message)s", level=logging.WARNING, stream=sys.stderr)
        listener = _bound(self._settings.address, self._settings.port)
        try:
            store = open_store(self._settings.store)
            try:
                self._serve(store, listener)
            finally:
                store.close()
        finally:
            listener.close()

    def _serve(self, store: Store, listener: socket.socket) -> None:
        engine = Engine(store)
        configure(engine, Batch(), trust_domain=self._settings.trust_domain)
        self._reconcile(engine)
        threads = [threading.Thread(target=self._keep_reconciling, args=(engine,), name="reconcile", daemon=True)]
        if self._settings.files is not None:
            threads.append(self._files(store, self._settings.files))
        server = _Server(
            uvicorn.Config(
                intake(engine, report),
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=5,
                ws="none",
            ),
            lambda: self._ready(listener),
        )
        with ExitStack() as serving:
            if self._settings.grpc is not None:
                threads.append(self._grpc(store, self._settings.grpc, serving))
            for thread in threads:
                thread.start()
            try:
                server.run(sockets=[listener])
            finally:
                self._stop.set()
                for thread in threads:
                    thread.join(timeout=5)

    def _ready(self, listener: socket.socket) -> None:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        files = str(self._settings.files) if self._settings.files else None
        line = {"ready": True, "url": url, "files": files, "grpc": self._grpc_at, "store": self._settings.store}
        sys.stdout.buffer.write(orjson.dumps(line) + b"\n")
        sys.stdout.flush()

    def _reconcile(self, engine: Engine) -> None:
        done = reconcile(engine, report if sys.stderr.isatty() else lambda text: None)
        if done.repaired:
            report(f"reconciled: {done.moved} snapshots, {done.manifests} manifests, {done.retired} retired")

    def _keep_reconciling(self, engine: Engine) -> None:
        while not self._stop.wait(self._settings.reconcile_every):
            try:
                self._reconcile(engine)
            except PointsmanError as error:
                report(f"reconcile: {error}")

    def _files(self, store: Store, root: Path) -> threading.Thread:
        adapter = FilesAdapter(Follower(store), root, self._settings.envoy_version)
        return threading.Thread(
            target=adapter.run,
            args=(self._stop,),
            kwargs={"discovery_period": _DISCOVERY_SECONDS},
            name="files",
            daemon=True,
        )

    def _grpc(self, store: Store, listen: Listen, serving: ExitStack) -> threading.Thread:
        """Listen for Envoys while `serving` lasts: the thread that sends them what changes."""
        # Who has no use for gRPC does not load it.
        from pointsman.adapter.ads.adapter import AdsAdapter
        from pointsman.adapter.ads.server import AdsServer

        follower = Follower(store)
        adapter = AdsAdapter(follower, store)
        self._grpc_at = serving.enter_context(AdsServer(adapter, listen)).address
        return threading.Thread(target=follower.run, args=(self._stop, adapter.on_change), name="ads", daemon=True)


class _Server(uvicorn.Server):
    """A server that says when it is up."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()


def _local(grpc: str) -> Listen:
    listen = Listen.read(grpc, "--grpc")
    if not listen.local:
        reason = f'"{listen.host}" is not a loopback address; `pointsman adapter grpc` serves others, with certificates'
        raise InvalidInput.single("--grpc", "", reason)
    return listen


def _bound(address: str, port: int) -> socket.socket:
    """A listening socket, or one clear line about why there is none."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use; is another `pointsman up` running? Choose another with --listen"
        else:
            reason = f"cannot listen there: {os.strerror(error.errno or 0)}"
        raise PointsmanError(f"{address}:{port}: {reason}") from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def report(text: str) -> None:
    """One line on stderr."""
    print(f"pointsman: {text}", file=sys.stderr, flush=True)
