"""Shared by the verbs: the store, this writer's sources of time and identity, and the current config."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from threading import Lock
from weakref import WeakValueDictionary

from pointsman.model.era import LAST_EPOCH, Era
from pointsman.pipeline.config import NO_CONFIG_HEAD, NO_ROOT, Config, ConfigHead, Root, load_root, read_config_head
from pointsman.pipeline.heads import HeadReadings
from pointsman.pipeline.load import load_config
from pointsman.pipeline.moved import Moved, MovedManifest, Notify
from pointsman.pipeline.objects import ObjectCache
from pointsman.pipeline.readings import CatalogReadings
from pointsman.pipeline.roster_readings import RosterReadings
from pointsman.pipeline.scope import Scope
from pointsman.pipeline.switches import NoWitness, Witness
from pointsman.pipeline.untold import Untold
from pointsman.store import keys
from pointsman.store.protocol import Store, Stored, StoreError, StoreUnavailable

_log = logging.getLogger(__name__)

ATTEMPTS = 64
"""Attempts at a lost race before Contended is raised."""


def _no_notice(moved: Sequence[Moved | MovedManifest]) -> None:
    """Send no notices: followers watch the store itself."""


def _no_wait() -> None:
    """Nobody waits for it: whoever looks at the store now and then finds it."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _random_nonce() -> str:
    return token_hex(16)


def _random_identity() -> str:
    return token_hex(8)


class Engine:
    """One writer on one store. Safe for several threads.

    `clock` gives the time for messages and epochs, `nonce` the mark of one write, `identity` that of a new store (16
    hexadecimal digits). `notify` gets every head and manifest that moved, before the cause is acknowledged, heads
    before the manifests that name them. `scope` are the datacenters that this engine computes for; None for those saved
    in the store. `notices` is the ARN of the topic to which `notify` publishes, to be saved in the store for engines
    that have none.

    `noted`, which may be set, is called whenever this engine computed a cluster that has to be computed again at a
    certain moment and noted that in the store, before the cause is acknowledged. `witness`, which may be set, is told
    what this engine computes and reads.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime] = _utc_now,
        nonce: Callable[[], str] = _random_nonce,
        identity: Callable[[], str] = _random_identity,
        notify: Notify = _no_notice,
        scope: Scope | None = None,
        notices: str = "",
    ) -> None:
        self.store = store
        self.nonce = nonce
        self.identity = identity
        self.notify = notify
        self.untold = Untold(notify)
        self.objects = ObjectCache(store)
        self.readings = CatalogReadings()
        self.heads = HeadReadings(store)
        self.rosters = RosterReadings()
        self.noted: Callable[[], None] = _no_wait
        self.witness: Witness = NoWitness()
        self._clock = clock
        self._scope = scope
        self._notices = notices
        self._lock = Lock()
        self._said = False
        self._head: ConfigHead = NO_CONFIG_HEAD
        self._root: Root = NO_ROOT
        self._config = load_config(self.objects, NO_ROOT)
        self._others: WeakValueDictionary[str, Config] = WeakValueDictionary()

    def now(self) -> str:
        """The time as RFC 3339 in UTC, with milliseconds."""
        return self._clock().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def now_ms(self) -> int:
        """The time in milliseconds since 1970."""
        return int(self._clock().timestamp() * 1000)

    @property
    def root(self) -> Root:
        """The current root, as of the last `refresh` or `take`."""
        return self._root

    @property
    def era(self) -> Era:
        """The store's era, as of the current config head."""
        return self._head.era

    def next_era(self, before: Era, above: int = 0) -> Era:
        """The era after `before`, of the same store if there was one, with an epoch greater than `above`.

        Raises StoreError if no epoch is greater.
        """
        epoch = max(before.epoch + 1, above + 1, int(self._clock().timestamp()))
        if epoch > LAST_EPOCH:
            raise StoreError(f"the store's epoch cannot grow beyond {LAST_EPOCH}: make a new store")
        return Era(before.identity or self.identity(), epoch)

    def refresh(self) -> ConfigHead:
        """Read the config head and make its root the current one."""
        return self.look(self.store.get(keys.CONFIG_HEAD))

    def look(self, stored: Stored | None) -> ConfigHead:
        """Make the config head in `stored` and its root current, as `take` does. Raises as `read_config_head` does."""
        with self._lock:
            known = self._head
        # Each pass reads it twice, and it seldom changes.
        if stored is not None and stored.etag == known.etag:
            return known
        return self.take(read_config_head(stored))

    def take(self, head: ConfigHead) -> ConfigHead:
        """Make `head` and its root current, and return it; if the current one is newer, return that.

        A head older than the current one was read before it, or the store went back. So it is read once more: what the
        store has then is the config.
        """
        with self._lock:
            known = self._head
        back = _is_before(head, known)
        if back:
            head = read_config_head(self.store.get(keys.CONFIG_HEAD))
            back = _is_before(head, known)
        if head.etag is None:
            head = self._first_head()
        elif not self._said and (raises := head.bears.raises()):
            self._said = True
            _log.warning("%s", raises)
        root = self._root if head.root == self._root.digest else load_root(self.objects, head.root)
        with self._lock:
            taken = self._head is known if back else _is_before(self._head, head)
            is_other = taken and root.digest != self._root.digest
            if taken:
                self._head, self._root = head, root
            current = self._head
        if is_other:
            self.witness.took(root)
        return current

    def _first_head(self) -> ConfigHead:
        """The head of a store without one. Raises StoreError if it was lost, which is not the same as none.

        Published objects show it: their writer wrote a head before.
        """
        published = next(iter(self.store.list(keys.MANIFESTS)), None)
        if published is None:
            return NO_CONFIG_HEAD
        head = read_config_head(self.store.get(keys.CONFIG_HEAD))
        if head.etag is None:
            raise StoreError(
                f"{keys.CONFIG_HEAD} is missing, though {published.key} was published: restore it from a copy, or name "
                "another store to begin anew"
            )
        return head

    @property
    def scope(self) -> Scope:
        """The datacenters for which heads and manifests are computed and written."""
        return self.scope_beside(self._head)

    def scope_beside(self, head: ConfigHead) -> Scope:
        """The scope with `head` as the config head, read or about to be written."""
        return head.scope if self._scope is None else self._scope

    @property
    def notices(self) -> str:
        """The ARN of the topic whose followers are to be told of what is written; "" if there is none."""
        return self.notices_beside(self._head)

    def notices_beside(self, head: ConfigHead) -> str:
        """The topic with `head` as the config head, read or about to be written."""
        return self._notices or head.notices

    def config(self, root: Root) -> Config:
        """Everything that `root` reaches. The current one is kept, others for as long as somebody uses them: two that
        are decoded take twice the memory."""
        with self._lock:
            near = self._config
            kept = near if near.root.digest == root.digest else self._others.get(root.digest)
        if kept is not None:
            return kept
        loaded = load_config(self.objects, root, near)
        self.keep(loaded)
        return loaded

    def keep(self, config: Config) -> None:
        """Keep `config` for the next call of `config`."""
        with self._lock:
            self._others[config.root.digest] = config
            if config.root.digest == self._root.digest or config.root.generation > self._config.root.generation:
                self._config = config


def _is_before(one: ConfigHead, other: ConfigHead) -> bool:
    """Whether one head is older than the other, or from another history: no two writes have the same serial."""
    ours, theirs = (one.era.epoch, one.serial), (other.era.epoch, other.serial)
    return ours < theirs or (ours == theirs and one.etag != other.etag)


class Contended(StoreUnavailable):
    """Lost to other writers too often: run it again later."""
