"""Keeps the views of proxies up to date with the store: one follower for all proxies and all adapters."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from pointsman.adapter.follow.confirming import Confirming, Meeting, Need
from pointsman.adapter.follow.discovering import Discovering
from pointsman.adapter.follow.needs import Needs
from pointsman.adapter.follow.replica import Replica
from pointsman.adapter.follow.saved import Saved
from pointsman.adapter.follow.views import Views
from pointsman.adapter.report.defects import Defects
from pointsman.adapter.report.resets import Resets
from pointsman.discovery.proxy import ProxyId
from pointsman.discovery.view import View, are_retired, cluster_ids
from pointsman.store.protocol import Store, Stored, StoreError

_log = logging.getLogger(__name__)

_FOLLOWING, _MAKING = "following what its manifest names", "making what it should have"


@dataclass(slots=True)
class _Followed:
    view: View | None = None


class Follower:
    """Keeps a replica of exactly the objects that its proxies need: their manifests and the heads that these name.

    A view is either complete or None. If a new manifest names heads that are not available yet, the previous view stays
    and its heads are still followed. A view never goes back, and never changes because data is missing: if the store is
    unavailable, an object missing, damaged or unfit, or a number decreased, everything stays unchanged, and `problems`,
    `unreachable` and `staleness` report it. A retired manifest is a statement: it ends the view.

    The one exception is a read of the store itself, without caches: it happens for an object that was read as older
    than the replica's, and for an Envoy that has something newer (`meet`, `confirm`). Objects that then go back are in
    `resets`.

    With `kept`, complete views are also saved on disk, and `recall` loads them without the store.

    A failure for one proxy, for whatever reason, becomes one of its `problems` and does not affect others.

    Safe for several threads: one at a time reads the store, and `view` never waits for that.
    """

    def __init__(
        self,
        store: Store,
        proxies: Iterable[ProxyId] = (),
        *,
        datacenters: Set[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
        kept: Saved | None = None,
    ) -> None:
        """Follow `proxies` in `store`; if empty, those that are `kept`. Of these and of discovered ones, only those in
        `datacenters` (empty: all).

        `clock` returns seconds, from any zero.
        """
        self._store = store
        self._clock = clock
        self._kept = kept
        self._replica = Replica(store, kept)
        self._datacenters = datacenters
        self._needs, self._views = Needs(self._replica), Views(self._replica, keeps=kept is not None)
        self._discovering = Discovering(store, datacenters, clock)
        self.confirming = Confirming(clock)
        self.resets = Resets()
        self._proxies: dict[ProxyId, _Followed] = {}
        self._retired: set[ProxyId] = set()
        self._asked: set[ProxyId] = set()
        self._reading, self._reading_failed = 0, ""
        self._added: set[ProxyId] = set()
        self._unsettled: set[ProxyId] = set()
        self._defects = Defects(clock)
        self._lock, self._adding = threading.Lock(), threading.Lock()
        self._looked = clock() - ((kept.age or 0.0) if kept else 0.0)
        self._seen = False
        self._unreachable = ""
        proxies = self.named = frozenset(proxies)
        known = kept.proxies() if kept else frozenset()
        self.add(proxies or (each for each in known if not datacenters or each.datacenter in datacenters))

    def elsewhere(self, proxy: ProxyId) -> str:
        """Why an Envoy should ask another control plane for `proxy`: this one does not serve its datacenter. "" if it
        does."""
        if not self._datacenters or proxy.datacenter in self._datacenters:
            return ""
        return f"{proxy} is not served here, only {', '.join(sorted(self._datacenters))}; ask another control plane"

    def add(self, proxies: Iterable[ProxyId]) -> None:
        """Follow these proxies too; the next `refresh` reads what they need."""
        with self._adding:
            new = {proxy: _Followed() for proxy in proxies if proxy not in self._proxies}
            self._proxies |= new
            self._added |= new.keys()

    def join(self, proxy: ProxyId) -> set[ProxyId]:
        """Follow `proxy`, because an Envoy asks for it, and read what it needs. Returns the proxies whose views
        changed.

        Concurrent calls share one read, which reads only what is not followed yet. A proxy without a manifest is
        dropped again. Raises StoreError.
        """
        with self._adding:
            if proxy in self._proxies and proxy not in self._asked:
                return set()
            if proxy not in self._proxies:
                self._proxies[proxy] = _Followed()
                self._added.add(proxy)
                self._asked.add(proxy)
            reading = self._reading + 1
        with self._lock:
            if self._reading < reading:
                self._take_up()
                return self._read_joined()
            if self._reading_failed and proxy not in self._proxies:
                raise StoreError(self._reading_failed)
            return set()

    def forget(self, proxies: Iterable[ProxyId]) -> None:
        """Stop following these, unless they are `named`."""
        with self._lock:
            for proxy in proxies:
                if proxy not in self.named:
                    self._forget(proxy)

    def discover(self) -> set[ProxyId]:
        """Follow every proxy in the datacenters with a manifest. Returns the new ones. Raises StoreError.

        A retired proxy is dropped, and followed again only when its manifest changes.

        Only this method lists: its cost grows with the number of proxies in the store.
        """
        new = self._discovering.look() - self.proxies
        self.add(new)
        return new

    def is_retired(self, proxy: ProxyId) -> bool:
        """Whether the registration of `proxy` was deleted, as of the last read."""
        return proxy in self._retired if proxy in self._proxies else self._discovering.has_ended(proxy)

    @property
    def any_retired(self) -> bool:
        """Whether `is_retired` is true of any proxy."""
        return bool(self._retired) or self._discovering.any_ended

    @property
    def proxies(self) -> Set[ProxyId]:
        """The followed proxies, with or without a view."""
        with self._adding:
            return frozenset(self._proxies)

    def view(self, proxy: ProxyId) -> View | None:
        """The view of `proxy`; None if it is not followed, has no manifest, or has never been complete."""
        followed = self._proxies.get(proxy)
        return followed.view if followed else None

    def problems(self, proxy: ProxyId) -> tuple[str, ...]:
        """Why the view of `proxy` is not what the store has, one line per reason."""
        followed = self._proxies.get(proxy)
        if followed is None:
            return ()
        named = self._needs.keys(proxy) & self._views.named(proxy, followed.view)
        found = self._views.problems(proxy, named)
        return (*found, *filter(None, self._defects.problems().get(proxy, ())))

    def all_problems(self) -> dict[ProxyId, tuple[str, ...]]:
        """The `problems` of each proxy; proxies without problems are left out."""
        found = {proxy: self.problems(proxy) for proxy in self.proxies}
        return {proxy: lines for proxy, lines in found.items() if lines}

    @property
    def staleness(self) -> float:
        """Seconds since the last successful read of the store, including one by an earlier adapter recorded in `kept`;
        if unknown, since the start."""
        return max(0.0, self._clock() - self._looked)

    @property
    def seen(self) -> bool:
        """Whether the store was read successfully since the start: then the replica is at least as new as that."""
        return self._seen

    @property
    def unreachable(self) -> str:
        """Why the last read of the store failed; "" if it did not."""
        return self._unreachable

    @property
    def ahead(self) -> list[str]:
        """The Envoys with something newer than the replica, for which the store has not been read yet."""
        return [each.what for each in self.confirming.meetings]

    def ahead_of(self) -> list[tuple[ProxyId, str]]:
        """As `ahead`: the proxy and the node id of each."""
        return [(each.proxy, each.node) for each in self.confirming.meetings]

    def meet(self, meeting: Meeting) -> None:
        """Ask for a read of the store itself, because an Envoy is ahead. Returns at once."""
        self.confirming.meet(meeting)

    def leave(self, meeting: Meeting) -> None:
        """End a meeting: the Envoy has disconnected, or is no longer ahead."""
        self.confirming.leave(meeting)

    def recall(self) -> set[ProxyId]:
        """Load what is saved on disk, without the store. Returns the proxies that now have a view."""
        with self._lock:
            self._take_up(reads=False)
            changed = self._rebuilt()
            return changed | {proxy for proxy in self._unsettled if self.view(proxy)}

    def refresh(self) -> set[ProxyId]:
        """Read the store once. Returns the proxies whose views changed. Never raises for errors of the store.

        It reads what was written since the last time, and once more if a manifest names something new.
        """
        with self._lock:
            self._take_up()
            try:
                self._read()
            except StoreError as error:
                if not self._unreachable:
                    _log.warning("the store cannot be read, everything stays unchanged: %s", error)
                self._unreachable = str(error)
                # What was read before the failure is used; the rest is read when the store is back.
                self._reading_failed = str(error)
                return self._settle(False)
            if self._unreachable:
                _log.warning("the store can be read again, after %.1f s", self._clock() - self._looked)
            self._looked, self._seen, self._unreachable = self._clock(), True, ""
            self.confirming.doubt(self._replica.contradicted())
            changed = self._settle()
            if self._kept is not None:
                self._kept.sweep()
                self._kept.saw()
            return changed

    def confirm(self, on_change: Callable[[set[ProxyId]], None]) -> None:
        """Read from the store itself, without caches and notices, the keys that are doubtful or that an Envoy is ahead
        of, and that were not read so within the last second. Calls `on_change` with the proxies whose views changed,
        then the `done` of every finished meeting. Never raises for errors of the store."""
        with self._lock:
            wanted = self.confirming.due(self._need)
            times = self._replica.times(wanted)
        if wanted:
            at = self._clock()
            try:
                found = self._store.get_many(wanted)
            except StoreError as error:
                self.confirming.failed(str(error))
                return
            changed = self._take_confirmed(wanted, times, found, at)
        else:
            changed = set()
        with self._lock:
            ended = self.confirming.ended(self._need)
        # Before `done` is called, the newest view must be delivered, even if another read found it a moment ago.
        changed |= {each.proxy for each in ended}
        if changed:
            on_change(changed)
        for meeting in ended:
            self.confirming.leave(meeting)
            meeting.done()

    def wait(self, period: float) -> bool:
        """Block until something is written, `period` seconds at most; False where the store cannot be reached."""
        try:
            self._store.wait(self._replica.cursor, period)
        except StoreError:
            return False  # the next read reports what is wrong
        return True

    def discover_when_due(self, period: float) -> None:
        """`discover` at first, and `period` seconds after the last time if anything was written meanwhile. Never raises
        for what the store does."""
        self._discovering.look_when_due(self.discover, period, self._replica.cursor)

    def _take_confirmed(
        self, wanted: Iterable[str], times: Mapping[str, int], found: Mapping[str, Stored], at: float
    ) -> set[ProxyId]:
        """Accept what the store was `found` to have, in a read that began at `at`. Returns the proxies whose views
        changed."""
        with self._lock:
            confirmed = self._replica.confirm(times, found)
            # Keys that are no longer followed need no confirmation.
            self.confirming.confirmed(wanted, confirmed.keys | (set(wanted) - times.keys()), at)
            for key, went in confirmed.resets.items():
                self.resets.note(key, went)
            self._touch(confirmed.changed)
            # Newly named objects are read now; if that fails, the next read reports and repeats it.
            with contextlib.suppress(StoreError):
                self._read_new()
            return self._rebuilt()

    def _need(self, meeting: Meeting) -> Need:
        """The keys that have to be read for `meeting`."""
        proxy, view = meeting.proxy, self.view(meeting.proxy)
        manifests = self._views.manifests(proxy)
        names = {*(cluster_ids(manifests) if manifests else ()), *(view.snapshots if view else ())}
        if meeting.clusters is not None:
            names &= meeting.clusters
        keys = {*proxy.manifest_keys, *(proxy.snapshot_key(each) for each in names)}
        return Need(keys, view is not None and view.manifests == manifests)

    def _take_up(self, reads: bool = True) -> None:
        """Follow the needs of new proxies, as far as they are known without the store."""
        with self._adding:
            if reads:
                self._reading, self._reading_failed = self._reading + 1, ""
            self._unsettled |= self._added | self._defects.due
            self._added.clear()
        self._follow_unsettled()

    def _read(self) -> None:
        """Update the replica, and the sets of followed objects."""
        self._touch(self._replica.read_changed())
        self._read_new()

    def _read_joined(self) -> set[ProxyId]:
        """Read only what was not read so far. Returns the proxies whose views changed. Raises StoreError."""
        try:
            self._read_new()
        except StoreError as error:
            self._reading_failed = str(error)
            self._settle(False)
            raise
        self.confirming.doubt(self._replica.contradicted())
        return self._settle()

    def _read_new(self) -> None:
        """Read the followed objects that were not read yet."""
        while True:
            self._follow_unsettled()
            changed = self._replica.read_new()
            self._touch(changed)
            if not changed:
                return

    def _touch(self, changed: Iterable[str]) -> None:
        self._unsettled |= self._needs.users(changed)

    def _follow_unsettled(self) -> None:
        for proxy in self._unsettled:
            with self._defects.of(proxy, _FOLLOWING):
                self._follow(proxy)

    def _follow(self, proxy: ProxyId) -> None:
        """Follow what the manifests of `proxy` name now, and what its view still contains."""
        self._needs.add(proxy, {*proxy.manifest_keys})
        self._needs.set(proxy, self._views.named(proxy, self._proxies[proxy].view))

    def _settle(self, complete: bool = True) -> set[ProxyId]:
        """Rebuild the views after a read, `complete` or failed midway. Returns the proxies whose views changed. Proxies
        that were asked for and have no manifest are dropped, and so are ended ones if proxies are discovered."""
        changed = self._rebuilt()
        with self._adding:
            met = self._asked - self._added
            self._asked -= met
        for proxy in met:
            followed = self._proxies[proxy]
            if followed.view is None and self._replica.is_missing(proxy.manifest_keys[0]):
                self._forget(proxy)
        if complete:
            if self._discovering.began:
                for proxy in self._unsettled - self.named:
                    self._end(proxy)
            self._unsettled.clear()
        return changed

    def _end(self, proxy: ProxyId) -> None:
        """Stop following `proxy` if its own manifest is retired."""
        (key, *_) = proxy.manifest_keys
        manifest = self._replica.value(key)
        if manifest is None or not manifest.retired:
            self._discovering.goes_on(proxy)
            return
        self._discovering.end(proxy, self._replica.etag(key))
        self._forget(proxy)

    def _forget(self, proxy: ProxyId) -> None:
        with self._adding:
            followed = self._proxies.pop(proxy, None)
            self._added.discard(proxy)
            self._asked.discard(proxy)
        self._retired.discard(proxy)
        self._unsettled.discard(proxy)
        self._defects.forget(proxy)
        if followed is not None:
            self._needs.drop(proxy)

    def _rebuilt(self) -> set[ProxyId]:
        """Rebuild the views of all unsettled proxies. Returns those that changed."""
        changed = set()
        for proxy in self._unsettled:
            with self._defects.of(proxy, _MAKING):
                if self._rebuild(proxy):
                    changed.add(proxy)
        return changed

    def _rebuild(self, proxy: ProxyId) -> bool:
        """Rebuild the view of `proxy` from the replica. Returns whether it changed."""
        followed = self._proxies[proxy]
        wanted, old = self._views.manifests(proxy), followed.view
        if wanted is not None and are_retired(wanted):
            known, followed.view = proxy in self._retired, None
            self._retired.add(proxy)
            self._replica.drop(proxy.manifest_keys[:1])
            return not known
        if wanted is not None:
            self._retired.discard(proxy)
        followed.view = self._views.make(proxy, wanted, old)
        return followed.view is not old
