"""`python -m tests.delivery.ejection`: what 200 requests meet after something died that no event tells of, by settings
of outlier detection; a table for docs/envoy.md. With names of situations, those alone."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value
from pointsman.delivery import limits

from tests.delivery.group import Group, Reach
from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40


def _always() -> OutlierDetection:
    made = OutlierDetection()
    made.CopyFrom(limits.OUTLIERS)
    made.max_ejection_percent.CopyFrom(UInt32Value(value=10))
    made.always_eject_one_host.CopyFrom(BoolValue(value=True))
    return made


# Outlier detection, and for how many milliseconds Envoy merges changes of health.
SETTINGS = {
    "Envoy's own": (OutlierDetection(), 1000),
    "one host always": (_always(), limits.MERGED_MS),
    "delivered": (limits.OUTLIERS, limits.MERGED_MS),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """How many of 200 requests failed right after it happened, how many of the next 200, and who is ejected then."""

    first: int
    next: int
    ejected: set[tuple[str, str]]


def kill_one(group: Group) -> None:
    """One instance dies."""
    group.instances[min(group.instances)].kill()


def kill_two(group: Group) -> None:
    """Two instances die."""
    for name in sorted(group.instances)[:2]:
        group.instances[name].kill()


def kill_all(group: Group) -> None:
    """All instances of the datacenter that serves die."""
    serving = min(group.instances).rpartition("-")[0]
    for name, instance in group.instances.items():
        if name.startswith(serving):
            instance.kill()


def bounce(group: Group) -> None:
    """All instances die, are missed by some requests, and are back."""
    kill_all(group)
    group.ask(20)
    for name, instance in group.instances.items():
        if not instance.alive:
            group.restart(name)


def fail_one(group: Group) -> None:
    """One instance answers 500."""
    group.restart(min(group.instances), status=500)


def kill_gateway(group: Group) -> None:
    """One of the gateways that s1 sends to dies."""
    group.envoys[min(name for name in group.envoys if name != "s1")].kill()


def measure(group: Group, happens: Callable[[Group], None]) -> Measured:
    """What requests meet after this happened, in a group that serves."""
    group.ask(20)
    happens(group)
    first = group.ask().total()
    return Measured(first, group.ask().total(), group.ejected())


HAPPENS: dict[str, tuple[Callable[[Group], None], list[tuple[Reach, int]], tuple[int, ...]]] = {
    # what happens, reached how and through how many gateways, how many instances
    "one instance dies": (kill_one, [("direct", 0), ("remote", 2), ("local", 2)], (1, 2, 3, 12)),
    "two instances die": (kill_two, [("direct", 0)], (4, 12)),
    "all of the first tier die": (kill_all, [("tiers", 0)], (1, 2, 3)),
    "all die and are back": (bounce, [("direct", 0), ("remote", 2)], (1, 2)),
    "one instance answers 500": (fail_one, [("direct", 0), ("remote", 2)], (1, 2, 3, 12)),
    "one gateway dies": (kill_gateway, [("remote", 2), ("local", 2)], (2,)),
}


def main() -> None:
    """Print the table."""
    for binary, version in ((ENVOY_1_40, "1.40"), (ENVOY_1_39, "1.39")):
        for what, (happens, reaches, sizes) in HAPPENS.items():
            if sys.argv[1:] and what not in sys.argv[1:]:
                continue
            for reach, gateways in reaches:
                for protocol in ("http", "tcp"):
                    if protocol == "tcp" and happens is fail_one:
                        continue  # nobody reads an answer there
                    for hosts in sizes:
                        cells = []
                        for settings in SETTINGS.values():
                            limits.OUTLIERS, limits.MERGED_MS = settings
                            with (
                                tempfile.TemporaryDirectory(prefix="ejection-") as directory,
                                Group(
                                    reach, hosts, Path(directory), gateways=gateways, protocol=protocol, binary=binary
                                ) as group,
                            ):
                                found = measure(group, happens)
                            gateway = any(name.startswith("gateway") for _, name in found.ejected)
                            note = " (gateway)" if gateway else ""
                            cells.append(f"{found.first}, {found.next}{note}")
                        print(
                            f"| {version} | {what} | {reach}, {protocol} | {hosts} | {' | '.join(cells)} |", flush=True
                        )


if __name__ == "__main__":
    main()
