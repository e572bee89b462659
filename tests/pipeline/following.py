"""Who follows a store meanwhile: their views are complete, never go back, and end as what is published."""

from collections.abc import Mapping
from typing import Any

from pointsman.adapter.follow.follower import Follower
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.discovery.view import View, cluster_ids
from pointsman.pipeline.config import Config
from pointsman.pipeline.scope import Scope

from tests.pipeline.memory import Connection

PROXIES: Mapping[str, ProxyId] = {
    "dc1/sidecar/default/api": SidecarId("dc1", "default", "api"),
    "dc1/sidecar/default/web": SidecarId("dc1", "default", "web"),
    "dc2/sidecar/default/db": SidecarId("dc2", "default", "db"),
    "dc1/gateway/gw": GatewayId("dc1", "gw"),
    "dc2/gateway/gw": GatewayId("dc2", "gw"),
}
"""Who is followed, by the keys of their registrations."""

_LOOKS = 2
"""How often the store is looked at in one round."""


class Followers:
    """One follower of the PROXIES, and what was seen so far. `views` counts the views that it has had."""

    def __init__(self, store: Connection) -> None:
        self.views = 0
        self._follower = Follower(store, PROXIES.values())
        self._problems: list[str] = []
        self._seen: dict[tuple[ProxyId, str], int] = {}
        self._versions: dict[ProxyId, int] = {}

    def look(self, times: int = _LOOKS) -> None:
        """Look at the store some times."""
        for _ in range(times):
            for proxy in self._follower.refresh():
                view = self._follower.view(proxy)
                if view is not None:
                    self._check(proxy, view)

    def _check(self, proxy: ProxyId, view: View) -> None:
        self.views += 1
        if view.snapshots.keys() != set(cluster_ids(view.manifests)):
            self._problems.append(f"{proxy}: its view is not complete")
        if view.version <= self._versions.get(proxy, 0):
            self._problems.append(f"{proxy}: its view went back to {view.version}")
        self._versions[proxy] = view.version
        for name, snapshot in view.snapshots.items():
            before = self._seen.get((proxy, name), 0)
            if snapshot.version < before:
                self._problems.append(f"{proxy}: {name} went back from {before} to {snapshot.version}")
            self._seen[proxy, name] = snapshot.version

    def problems_at_the_end(self, config: Config, published: Mapping[str, Any], scope: Scope) -> list[str]:
        """What is wrong after the last write; the store is for `scope`."""
        self.look()
        for key, proxy in scope.of(PROXIES).items():
            view = self._follower.view(proxy)
            if key not in config.registrations:
                if view is not None:
                    self._problems.append(f"{proxy} is followed though it is not registered")
                continue
            named = published[proxy.manifest_keys[-1]]["clusters"]
            expected = {each: published[proxy.snapshot_key(each)] for each in named}
            found = {name: snapshot.content for name, snapshot in view.snapshots.items()} if view else {}
            if found.keys() != expected.keys() or not all(expected[each].same_version(found[each]) for each in found):
                self._problems.append(f"{proxy} has {found} instead of {expected}: {self._follower.problems(proxy)}")
        return self._problems
