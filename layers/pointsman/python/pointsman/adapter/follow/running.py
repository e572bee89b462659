"""Following a store for as long as somebody wants it."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import ProxyId

_log = logging.getLogger(__name__)

PAUSE_S = 0.25
"""Seconds until a store that could not be reached is asked again."""

_PATIENCE_S = 5.0
"""Seconds that a reading of the store may still take when everything ends."""

OnChange = Callable[[set[ProxyId]], None]


def follow(
    follower: Follower,
    stop: threading.Event,
    on_change: OnChange,
    *,
    period: float = PAUSE_S,
    discovery_period: float | None = None,
) -> None:
    """Follow until `stop` is set: after every look, call `on_change` with the proxies whose views changed.

    It is called with the empty set as well, about every `period` seconds where nothing happens, for whoever has
    something to do from time to time; so often is a store looked at that cannot tell of writes. With
    `discovery_period`, look for new proxies at the start, and so many seconds after the last time if anything was
    written meanwhile.

    What is in doubt is confirmed on a thread of its own.
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
    """Confirm what is in doubt for as long as this lasts."""
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
            # Whoever waits goes on waiting, and is looked at again: one who cannot be served must not end this.
            _log.exception("what the store has could not be confirmed")
