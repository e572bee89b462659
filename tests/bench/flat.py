"""The memory of `pointsman up` while storm follows storm."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import mesh
from tests.bench.curves import Points
from tests.bench.table import Beside, Measured
from tests.bench.up import configured, request, resident_bytes, send, up

GOAL = 1.1
"""Times what it was after the first tenth."""

_SAMPLES = 120


def memory(directory: Path, seconds: float, services: int, progress: Callable[[str], None]) -> tuple[Points, int]:
    """While events come as fast as they are acknowledged: pairs of seconds and MiB, and how many events there were."""
    configured(directory / "store.db", mesh.documents(services))
    found: list[tuple[float, float]] = []
    with up(directory) as (process, port):
        send(port, map(request, mesh.lists(services)), connections=8)
        done: list[tuple[float, list[float]]] = []
        storm = threading.Thread(target=lambda: done.append(send(port, map(request, mesh.events(services)), seconds)))
        began = time.perf_counter()
        storm.start()
        while storm.is_alive():
            found.append((time.perf_counter() - began, resident_bytes(process.pid) / 2**20))
            storm.join(seconds / _SAMPLES)
    count = len(done[0][1])
    progress(f"{count:,} events; {found[0][1]:.0f} MiB at first, {found[-1][1]:.0f} MiB at last")
    return found, count


def row(found: Points, events: int) -> Measured:
    """What it was at the end, against what it was when all was warm."""
    warm = Beside("after a tenth of the time", found[len(found) // 10][1])
    what = f"memory of `up` after {found[-1][0] / 60:.0f} minutes of storms, {events:,} events"
    return Measured(what, found[-1][1], "MiB", GOAL * warm.value, beside=warm)
