"""s2 behind the gateways of two datacenters: what most tests on real Envoys switch back and forth."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Self

from pointsman.model.upstream_config import Mode
from pointsman.store.protocol import Store

from tests.adapter import targets
from tests.adapter.control import Control, defaults, instance, proxy_defaults, resolver, s1
from tests.adapter.published import DATACENTERS, TRUST_DOMAIN
from tests.fleet.ca import CertificateAuthority
from tests.fleet.client import Asker
from tests.fleet.judge import Switch, wrong_switching
from tests.fleet.process import Ports, wait_until


class Switching:
    """s1 in dc1 has s2 as upstream, which is ill there, and well in dc2 first: gateways lead to it, which answer with
    the datacenter that was asked for. Up while the `with` block lasts."""

    def __init__(self, mode: Mode, protocol: str, store: Store, directory: Path, ports: Ports) -> None:
        self.mode, self._protocol = mode, protocol
        self._held = contextlib.ExitStack()
        self.authority = CertificateAuthority(directory / "ca", TRUST_DOMAIN)
        self.control = Control(store)
        self.upstream = ports.take("127.0.0.1")
        self.gateways = targets.places(ports, DATACENTERS)
        self.targets = targets.gateways(self.authority, "s2", self.gateways)
        self._serving = "dc2"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            held.enter_context(self.targets)
            self.control.apply(
                proxy_defaults(self.mode),
                defaults("s2", Protocol=self._protocol),
                resolver("s2", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}),
                s1(s2=self.upstream),
            )
            for datacenter, place in self.gateways.items():
                self.control.report_gateways({"gateway": place}, dc=datacenter)
                self.report(datacenter, datacenter != "dc1")
            self._held = held.pop_all()
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    def switch(self, askers: Sequence[Asker], around: Callable[[], object] = lambda: None) -> list[str]:
        """Let the other datacenter take over, and return when it has: everything that was wrong with the answers.

        `around` is what else happens once the switch is published.
        """
        old, new = self._serving, "dc3" if self._serving == "dc2" else "dc2"
        reported = time.perf_counter()
        self.publish()
        around()
        # One worker serves them all: what it did for one is so for everybody who asks from then on.
        switched = min(asker.wait_for_answer(new, after=reported).done for asker in askers)
        settled = max(wait_for_switch(asker, new) for asker in askers)
        wrong: list[str] = []
        for asker in askers:
            asker.wait_past(settled)
            wrong += wrong_switching(asker.attempts(reported, settled), Switch(old, new, None, reported, switched))
        return wrong

    def publish(self) -> str:
        """Publish that the other datacenter takes over: which that is."""
        self._serving = "dc3" if self._serving == "dc2" else "dc2"
        self.report("dc2", self._serving == "dc2")
        return self._serving

    def ways(self) -> set[tuple[str, str]]:
        """The pairs of gateway and SNI that may have been seen after at least one switch, and no others."""
        return {("dc1" if self.mode == "local" else each, each) for each in ("dc2", "dc3")}

    def report(self, datacenter: str, healthy: bool) -> None:
        """The health of s2 in a datacenter. Where it is reached without gateways, a real server answers."""
        direct = self.mode == "none" or datacenter == "dc1"
        place = self.gateways[datacenter] if direct else (DATACENTERS[datacenter], 8000)
        status = "passing" if healthy else "critical"
        self.control.report("s2", instance("s2", place, status), dc=datacenter)


def wait_for_switch(client: Asker, who: str) -> float:
    """Return when a request that was sent from now on was answered by `who`: when the first such was sent."""
    now = time.perf_counter()

    def first() -> float | None:
        return min((each.sent for each in client.attempts(now) if each.datacenter == who), default=None)

    return wait_until(first, f"{who} to answer")


def failures(askers: Iterable[Asker], since: float) -> list[str | None]:
    """What failed of all that was sent since then and before now."""
    now, found = time.perf_counter(), []
    for asker in askers:
        asker.wait_past(now)
        found += [each.failure for each in asker.attempts(since, now) if each.failure]
    return found
