"""Runs a follower until it is stopped."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

PAUSE_S = 0.25
"""Seconds until an unreachable store is read again."""

_PATIENCE_S = 5.0
"""Seconds that a read of the store may still take at the end."""

OnChange = Callable[[set[ProxyId]], None]


def follow(
    follower: Follower,
    stop: threading.Event,
    on_change: OnChange,
    *,
    period: float = PAUSE_S,
    discovery_period: float | None = None,
) -> None:
    """Follow until `stop` is set: after every read, call `on_change` with the proxies whose views changed.

    It is also called with an empty set, about every `period` seconds without changes, for periodic work; a store that
    cannot report writes is polled at this period. With `discovery_period`, look for new proxies at the start, and again
    after so many seconds if anything was written in the meantime.

    Doubtful keys are confirmed in a thread of its own.
    """
    on_change(follower.recall())
    with _confirming(follower, on_change):
        while not stop.is_set():
            if discovery_period is not None:
                follower.discover_when_due(discovery_period)
            on_change(follower.refresh())
            if follower.unreachable or not follower.wait(period):
                stop.wait(PAUSE_S)


@contextlib.contextmanager
def _confirming(follower: Follower, on_change: OnChange) -> Iterator[None]:
    """Confirms doubtful keys within the block."""
    follower.confirming.open()
    thread = threading.Thread(target=_keep_confirming, args=(follower, on_change), name="confirming", daemon=True)
    thread.start()
    try:
        yield
    finally:
        follower.confirming.close()
        thread.join(_PATIENCE_S)


def _keep_confirming(follower: Follower, on_change: OnChange) -> None:
    while follower.confirming.wait():
        try:
            follower.confirm(on_change)
        except Exception:
            # Waiting meetings stay, and are checked again: an error for one must not end this thread.
            _log.exception("what the store has could not be confirmed")
