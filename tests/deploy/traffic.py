"""Real Envoys at the discovery function, with traffic: through failovers, another deploy, and the end of the stack."""

import contextlib
import time
from typing import Any, Self

from tests.aws.situation import Situation, Url
from tests.deploy.deployed import Deployed
from tests.deploy.emulator import Emulator
from tests.deploy.progress import SOON_SECONDS, Progress, expect, expect_soon
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40, Envoy

BINARIES = {"s1": ENVOY_1_40, "s3": ENVOY_1_39, "gateway-dc1": ENVOY_1_40}


class Traffic:
    """s1 and s3 ask s2 all the time, within the `with` block."""

    def __init__(self, stack: Deployed, situation: Situation, emulator: Emulator) -> None:
        self._situation, self._emulator = situation, emulator
        self._url = Url(stack.url("DiscoveryURL").host, emulator.port, emulator.ca, refresh_delay=2)
        self._credentials = {"AWS_EC2_METADATA_DISABLED": "true", **stack.envoy.credentials}
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as held:
            held.enter_context(self._situation.servers)
            self.envoys: dict[str, Envoy] = {
                name: held.enter_context(self._situation.envoy(name, binary, self._url, self._credentials))
                for name, binary in BINARIES.items()
            }
            for envoy in self.envoys.values():
                envoy.wait_ready(SOON_SECONDS)
            self.clients = {
                name: held.enter_context(self._situation.client(name, interval=0.1)) for name in ("s1", "s3")
            }
            for client in self.clients.values():
                client.wait_for_answer("dc1", after=0.0, timeout=SOON_SECONDS)
            self._begin = time.perf_counter()
            self._held = held.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def fails_over(self, say: Progress) -> None:
        """To dc2 and back."""
        for status, serving in (("critical", "dc2"), ("passing", "dc1")):
            told = self._situation.report("dc1", status)
            for name, client in self.clients.items():
                took = client.wait_for_answer(serving, after=told, timeout=SOON_SECONDS).done - told
                say.note(f"{status} in dc1: {name} gets answers of {serving} after {took:.1f} s")

    def refresh_delay(self, wanted: str) -> float:
        """Wait until s1 asks for endpoints with another refresh delay; how many seconds it took."""
        return expect_soon("the refresh delay of s1's endpoints", {wanted}, self._refresh_delays, self._emulator)

    def goes_on(self, what: str) -> int:
        """No request failed so far; how many there were. Raises FleetError otherwise."""
        asked = [each for client in self.clients.values() for each in client.attempts(self._begin)]
        expect(f"failed requests while {what}", [], [each.failure for each in asked if each.failure])
        return len(asked)

    def _refresh_delays(self) -> set[str]:
        found: list[Any] = [each for each in self.envoys["s1"].config_dump() if "ClustersConfigDump" in each["@type"]]
        clusters = [each["cluster"] for dump in found for each in dump.get("dynamic_active_clusters", [])]
        sources = [each["eds_cluster_config"]["eds_config"] for each in clusters if "eds_cluster_config" in each]
        return {str(each["api_config_source"]["refresh_delay"]) for each in sources}
