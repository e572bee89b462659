"""The filesystem adapter: keeps the files of the Envoys on this machine up to date with the store."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pointsman.adapter.files.inotify import Inotify
from pointsman.adapter.files.proxy_files import GRACE_S, ProxyFiles
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.running import follow
from pointsman.adapter.report.defects import AGAIN_S, Defects
from pointsman.adapter.report.fetcher import Fetcher, Waiting
from pointsman.adapter.report.metrics import Metrics
from pointsman.adapter.report.retired import Fetching, retired
from pointsman.delivery.deliver import Delivery, EnvoyVersion, deliver_gateway, deliver_sidecar
from pointsman.delivery.secret_source import ResourceSource, Sds, with_sds
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.view import View, own_of
from pointsman.disk.access import SHARED, without_links
from pointsman.disk.lock import DirectoryLock
from pointsman.disk.operations import FileOperations
from pointsman.xds.manifest import SidecarManifest

_log = logging.getLogger(__name__)

WAY = "files"
"""The name of files in metrics."""

OURS = ".pointsman"
"""The adapter's own directory below its root; no datacenter can have this name."""

_UPKEEP_S = 0.25
"""Seconds between two checks for work that is due by time alone."""

_AT_ONCE = 4
"""Proxies whose files are written at the same time: most of the time is spent waiting for the disk."""


@dataclass(slots=True)
class _Kept:
    """The files of one proxy, their last wanted content, and why they differ from it."""

    files: ProxyFiles | None = None
    delivery: Delivery | None = None
    problem: str = ""
    tried: float = 0.0
    offered: float = float("-inf")


class FilesAdapter:
    """Writes the views of a follower: DIR/<datacenter>/sidecar/<namespace>/<service>/ for a sidecar,
    DIR/<datacenter>/gateway/<id>/ for a mesh gateway, each with cds.pb, lds.pb and eds/.

    Files change only on positive knowledge: while the store is unavailable, or a proxy has no complete view, they stay.
    When a registration is deleted, its cds.pb and lds.pb are removed: a running Envoy keeps what it has, and a new one
    reports that they are missing. Until the store was read for the first time, complete files are not touched: they are
    at least as new as the saved objects.

    With a `lock`, one process at a time writes: another one stands by, follows, and takes over when that one ends.

    Safe for several threads.
    """

    def __init__(
        self,
        follower: Follower,
        root: Path,
        envoy_version: EnvoyVersion | None = None,
        *,
        sds: Sds | None = None,
        group: int | None = None,
        inotify: Inotify | None = None,
        operations: FileOperations | None = None,
        clock: Callable[[], float] = time.monotonic,
        grace: float = GRACE_S,
        metrics: Metrics | None = None,
        lock: DirectoryLock | None = None,
    ) -> None:
        """Write below `root`. `envoy_version` is the oldest of the Envoys there, None if unknown. `sds` is the source
        of their secrets, None: their bootstraps. `group` may read the files, None: the process's own.

        `clock` returns seconds, from any zero; `grace` is the seconds that an unused endpoint file stays.
        """
        self._follower = follower
        self._root = without_links(root)
        self._version, self._sds = envoy_version, sds
        self._inotify = inotify or Inotify(clock=clock)
        self._operations = operations or FileOperations(replace(SHARED, group=group), self._root)
        self._clock, self._grace = clock, grace
        self._kept: dict[ProxyId, _Kept] = {}
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._looked_after = clock()
        self._metrics, self._directory_lock = metrics, lock
        self._stood_by: set[ProxyId] = set()
        self._passed_over: set[ProxyId] = set()
        self._defects = Defects(clock)

    def directory(self, proxy: ProxyId) -> Path:
        """The directory of the files of `proxy`, which its Envoy's bootstrap has to name."""
        return self._root / proxy.directory

    def on_change(self, changed: Iterable[ProxyId]) -> None:
        """Write the current views of these proxies, and do what is due. A failure for one proxy, such as a full disk,
        becomes one of its `problems` and is tried again; other proxies are not affected."""
        with self._lock:
            if self.standing_by:
                self._stood_by |= {*changed}
                return
            proxies = [*changed]
            if self._stood_by or (self._passed_over and self._follower.seen):
                proxies = list({*proxies, *self._stood_by, *self._passed_over})
                self._stood_by, self._passed_over = set(), set()
            if self._pool and len(proxies) > 1:
                list(self._pool.map(self._bring, proxies))
            else:
                for proxy in proxies:
                    self._bring(proxy)
            if self._clock() - self._looked_after >= _UPKEEP_S:
                self._look_after()
                self._looked_after = self._clock()

    @property
    def standing_by(self) -> bool:
        """Whether another process writes these files."""
        return self._directory_lock is not None and not self._directory_lock.held

    def offer_again(self, proxies: Iterable[ProxyId]) -> None:
        """Write the listeners of these proxies once more, every few seconds at most: an Envoy rejected one, maybe for
        a port that is free by now, and reads a file only when it is written."""
        with self._lock:
            for proxy in proxies:
                kept = self._kept.get(proxy)
                if self.standing_by or kept is None or self._clock() - kept.offered < AGAIN_S:
                    continue
                kept.offered = self._clock()
                with self._defects.of(proxy, "writing its listeners again"):
                    if kept.files:
                        kept.files.offer_again()

    def discover(self) -> None:
        """Follow newly registered proxies now, without waiting for `run`. Raises StoreError."""
        self._follower.discover()
        self.on_change(self._follower.refresh())

    def run(
        self,
        stop: threading.Event,
        *,
        period: float = _UPKEEP_S,
        discovery_period: float | None = None,
        on_turn: Callable[[], object] = lambda: None,
    ) -> None:
        """Follow and write until `stop` is set, and call `on_turn` after every read; see `follow` for the periods."""

        def on_change(changed: set[ProxyId]) -> None:
            self.on_change(changed)
            on_turn()

        with ThreadPoolExecutor(_AT_ONCE, "files") as self._pool:
            try:
                self._take_over(stop)
                follow(self._follower, stop, on_change, period=period, discovery_period=discovery_period)
            finally:
                with self._lock:
                    self._pool = None
                    if self._directory_lock is not None and self._directory_lock.held:
                        self._directory_lock.release()

    def problems(self) -> Mapping[ProxyId, tuple[str, ...]]:
        """For each proxy, why its files are not what the store has; proxies without problems are left out."""
        # Without the lock: a hanging disk must not keep the metrics from reporting it.
        found = self._follower.all_problems()
        own = {proxy: (kept.problem,) for proxy, kept in self._kept.copy().items() if kept.problem}
        for problems in (own, self._defects.problems()):
            for proxy, lines in problems.items():
                found[proxy] = found.get(proxy, ()) + lines
        return found

    def fetching(self) -> list[Fetching]:
        """The proxies whose files were here until the registration was deleted."""
        found = self._kept.copy().items()
        return [(WAY, proxy, "") for proxy, each in found if each.files and each.files.retired_since is not None]

    def fetchers(self) -> list[Fetcher]:
        """The proxies with files here, and why those stay behind if they do."""
        found = self._kept.copy().items()
        return [
            Fetcher(WAY, proxy, "", (Waiting("", "", each.problem, each.problem),) if each.problem else ())
            for proxy, each in found
            if each.files
        ]

    def config_dump(self) -> dict[str, Any]:
        """For each proxy, the versions in its files, and why they are behind if they are, for `/config_dump`."""
        found = [
            {
                "proxy": str(proxy.directory),
                "directory": str(self.directory(proxy)),
                "problem": each.problem,
                "versions": [
                    {"kind": kind, "name": name, "version": version}
                    for (kind, name), version in sorted(each.files.versions().items())
                ]
                if each.files
                else [],
            }
            for proxy, each in sorted(self._kept.copy().items(), key=lambda item: str(item[0].directory))
        ]
        return {"standing_by": self.standing_by, "proxies": found}

    def has(self, proxy: ProxyId, kind: str, name: str, version: str) -> bool | None:
        """Whether an Envoy with this `version_info` has read the current files of `proxy`, None if there are none;
        `name` is a cluster's, for endpoints."""
        kept = self._kept.get(proxy)
        wanted = kept.files.versions().get((kind, name)) if kept and kept.files else None
        return None if wanted is None else version == wanted

    def _take_over(self, stop: threading.Event) -> None:
        """Become the writer, now or when the other process ends."""
        lock = self._directory_lock
        if lock is None or lock.take():
            return
        _log.warning("%s is written by %s; this one stands by until that ends", self._root, lock.holder)

        def wait() -> None:
            lock.take(wait=True)
            if stop.is_set():
                lock.release()
                return
            _log.warning("%s is written by this process now", self._root)
            self.on_change(())

        threading.Thread(target=wait, name="files-lock", daemon=True).start()

    def _bring(self, proxy: ProxyId) -> None:
        """Write the current view of `proxy`, or record why not."""
        with self._defects.of(proxy, "writing its files"):
            self._write(proxy)

    def _write(self, proxy: ProxyId) -> None:
        view = self._follower.view(proxy)
        if view is None and not self._follower.is_retired(proxy):
            return
        kept, directory = self._kept.setdefault(proxy, _Kept()), self.directory(proxy)
        kept.tried = self._clock()
        try:
            if kept.files is None:
                kept.files = ProxyFiles(
                    directory,
                    inotify=self._inotify,
                    operations=self._operations,
                    clock=self._clock,
                    grace=self._grace,
                    wrote=self._wrote,
                )
            if view is None:
                kept.files.retire(retired(proxy))
                kept.delivery, kept.problem = None, ""
                return
            if not self._follower.seen and kept.files.whole:
                self._passed_over.add(proxy)
                return
            source = with_sds(kept.files.source, self._sds)
            kept.delivery = _delivery(view, self._version, source, kept.delivery)
            refused = kept.files.bring(kept.delivery) or _unreached(view, source)
        except OSError as error:
            refused = f"{error.strerror} ({error.filename}): it is tried again"
        _note(kept, f"the files in {directory} stay behind: {refused}" if refused else "")

    def _wrote(self, kind: str, published: str) -> None:
        if self._metrics is not None:
            self._metrics.delivered(WAY, kind, published)

    def _look_after(self) -> None:
        """Do what is due: steps that waited for an Envoy, retries, and cleaning."""
        due = self._defects.due
        for proxy, kept in list(self._kept.items()):
            again = kept.problem and self._clock() - kept.tried >= AGAIN_S
            if again or proxy in due or (kept.files and kept.files.unfinished):
                self._bring(proxy)
            with self._defects.of(proxy, "removing what is left over of its files"):
                if kept.files:
                    kept.files.sweep()
                gone = kept.files is None or kept.files.end() or not kept.files.any
                if gone and self._follower.view(proxy) is None and not kept.problem:
                    del self._kept[proxy]
                    self._defects.forget(proxy)


def _note(kept: _Kept, problem: str) -> None:
    if problem and problem != kept.problem:
        _log.warning("%s", problem)
    kept.problem = problem


def _unreached(view: View, source: ResourceSource) -> str:
    """Why intentions do not reach the Envoys of a sidecar; "" if they do, or there are none."""
    inbound = view.manifests.inbound if isinstance(view.manifests, SidecarManifest) else None
    if not own_of(view.manifests, source).unreached(inbound.registered if inbound else None):
        return ""
    return "intentions reach no sidecar that is not registered with Service.Address, Service.Port and LocalServicePort"


def _delivery(view: View, version: EnvoyVersion | None, source: ResourceSource, previous: Delivery | None) -> Delivery:
    manifests = view.manifests
    if isinstance(manifests, SidecarManifest):
        made = deliver_sidecar(manifests, view.snapshots, version, source, previous=previous)
        # Nobody says here who the Envoy is: it listens where it is registered.
        host = manifests.inbound.registered if manifests.inbound else None
        return replace(made, own=own_of(manifests, source).of(host))
    return deliver_gateway(*manifests, view.snapshots, version, source=source, previous=previous)
