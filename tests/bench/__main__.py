"""`make bench`: measures, and prints a table. Run it on a machine that does nothing else."""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench import answers, costs, fan_out, switches
from tests.bench.table import Measured, table


@dataclass(frozen=True, slots=True)
class _Size:
    switches: int
    waiting: list[int]
    rounds: int
    seconds: float
    services: int


_FULL = _Size(200, [200, 2000], 5, 10.0, costs.SERVICES)
_QUICK = _Size(4, [20], 2, 0.3, 3)

_PARTS: dict[str, Callable[[Path, _Size, Callable[[str], None]], Iterator[Measured]]] = {
    "switches": lambda where, size, progress: switches.measure(where, size.switches, progress),
    "fan-out": lambda where, size, progress: fan_out.measure(where, size.waiting, size.rounds, progress),
    "answers": lambda where, size, progress: answers.measure(where, size.seconds, progress),
    "costs": lambda where, size, progress: costs.measure(where, size.seconds, size.services, progress),
}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print: goals that are missed are marked. With --quick the numbers mean nothing."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *_PARTS], help="what to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="a few of each, in seconds: numbers without weight")
    given = parser.parse_args(arguments)
    size = _QUICK if given.quick else _FULL
    began = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - began:4.0f} s] {text}", file=sys.stderr, flush=True)

    rows: list[Measured] = []
    for part in given.parts or _PARTS:
        progress(part)
        with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as directory:
            rows += _PARTS[part](Path(directory), size, progress)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, {platform.platform()}\n")
    print(table(rows))


if __name__ == "__main__":
    main()
