"""What producers send, and the events made from it: for the tests of the event sources."""

import copy
import json
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from typing import Any

from pointsman.failover.health import health_and_weight
from pointsman.model.catalog import EMPTY, Catalog, merge
from pointsman.model.events import HealthEvent
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.pointer import ListsAt
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognize import SourceSettings, read_events

SAMPLES = Path(__file__).parents[2] / "events"
LISTS = SourceSettings(lists=ListsAt("pointsman-test", "mesh/incoming/"))
GROUPS = '{"datacenter": "dc2", "groups": {"service:api": {"port": 21000}}}'


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_bytes())


def changed(raw: Any, **fields: Any) -> Any:
    """`raw` with other values at places written as in `detail__containers__0__healthStatus`; ... takes one away."""
    raw = copy.deepcopy(raw)
    for place, value in fields.items():
        *path, last = (int(step) if step.isdigit() else step for step in place.split("__"))
        inside = reduce(lambda each, step: each[step], path, raw)
        if value is ...:
            del inside[last]
        else:
            inside[last] = value
    return raw


def task(sample_name: str = "ecs-task-running", **fields: Any) -> Any:
    return changed(sample(sample_name), **{f"detail__{place}": value for place, value in fields.items()})


def catalog(events: Iterable[HealthEvent]) -> Catalog:
    return reduce(merge, events, EMPTY)


def serving(events: Iterable[HealthEvent], service: str = "api") -> dict[tuple[str, int], bool]:
    """The endpoints after `events`, and whether each is healthy."""
    instances = catalog(events).instances(service)
    return {each.local: health_and_weight(each, only_passing=False)[0] for each in instances}


def only(reading: Reading) -> HealthEvent:
    (event,) = reading.events
    return event


def visible(events: Iterable[HealthEvent]) -> Iterable[tuple[str, Any]]:
    """The instances that are there, by node."""
    return [(body["Node"]["Node"], body) for body in catalog(events).visible()]


def entries(**fields: Any) -> Any:
    return changed(sample("consul-watch-service")["detail"]["Result"], **fields)


def watch(result: Any, header: str | None = "7", **parameters: str) -> Reading:
    return read_events(watch_event({"type": "service", "dc": "dc1", "service": "api"} | parameters, header, result))


def checks(**fields: Any) -> Any:
    return changed(sample("consul-watch-checks")["detail"]["Result"], **fields)
