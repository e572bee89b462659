"""What an Envoy saw of the connections it took: its access log, one line of JSON each."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection, written down when it was over.

    `start` is Unix time in seconds, exact to the millisecond; `sni` the server name that the other side asked for,
    None if it asked for none; `upstream_host` where it went on to (`ip:port`), None if nowhere.
    """

    start: float
    sni: str | None
    upstream_cluster: str | None
    upstream_host: str | None


def connections(log: Path) -> list[Connection]:
    """Every connection in `log`, in the order in which they ended; none without a log."""
    if not log.exists():
        return []
    # What follows the last line break is a line that is still being written.
    whole, _, _ = log.read_text().rpartition("\n")
    return [_connection(json.loads(line)) for line in whole.splitlines()]


def _connection(line: dict[str, str | None]) -> Connection:
    start = line["start_time"]
    assert start is not None
    return Connection(
        datetime.fromisoformat(start).timestamp(), line["sni"], line["upstream_cluster"], line["upstream_host"]
    )
