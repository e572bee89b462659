"""Looks up proxies at their first request, outside the loop, because a store may be slow."""

import asyncio
from collections.abc import Callable
from functools import partial

from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.joins import Joins
from pointsman.adapter.report.retired import retired
from pointsman.adapter.rest.book import AnswerBook
from pointsman.delivery.deliver import EnvoyVersion, takes_hostnames
from pointsman.discovery.answers import Answers
from pointsman.discovery.proxy import ProxyId
from pointsman.store.protocol import StoreError

Problem = tuple[int, str]
"""An HTTP status and the reason."""

_LOOK_S = 0.25
"""Seconds between two checks for something missing."""


class Lookup:
    """Makes a follower follow proxies when they are requested. Use it from one loop."""

    def __init__(
        self,
        follower: Follower,
        book: AnswerBook,
        announce: Callable[[set[ProxyId]], None],
        patience: float,
    ) -> None:
        """Look for at most `patience` seconds; `announce` is called with the views that changed meanwhile."""
        self._follower, self._book = follower, book
        self._announce, self._patience = announce, patience
        self._looking: dict[tuple[ProxyId, bool], asyncio.Task[Answers | Problem]] = {}
        self._joins = Joins("rest-lookup")

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._joins.waiting

    async def find(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Answers | Problem:
        """The answers for an Envoy of this version as `proxy`, or why there are none.

        Concurrent calls for the same proxy share one lookup.
        """
        key = proxy, takes_hostnames(envoy)
        task = self._looking.get(key)
        if task is None:
            task = self._looking[key] = asyncio.create_task(self._look_for(proxy, envoy))
            task.add_done_callback(lambda _: self._looking.pop(key, None))
        return await asyncio.shield(task)

    def close(self) -> None:
        """Release threads and open calls."""
        self._joins.close()

    async def _look_for(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Answers | Problem:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            found = await self._joins.run(partial(self._look, proxy, envoy))
            left = deadline - loop.time()
            if isinstance(found, Answers) or left <= 0:
                return found
            await asyncio.sleep(min(_LOOK_S, left))

    def _look(self, proxy: ProxyId, envoy: EnvoyVersion | None) -> Answers | Problem:
        problem = 404, f"{proxy} is not registered; `pointsman apply` does that"
        try:
            changed = self._follower.join(proxy)
            if changed:
                self._announce(changed)
        except StoreError as error:
            problem = 503, f"the store cannot be read: {error}"
        found = self._book.answers(proxy, envoy)
        if found is not None:
            return found
        if self._follower.is_retired(proxy):
            return 404, retired(proxy)
        if proxy in self._follower.proxies:
            reasons = filter(None, [*self._follower.problems(proxy), self._follower.unreachable])
            problem = 503, f"{proxy} has no complete view: {'; '.join(reasons) or 'it is not registered'}"
        return problem
