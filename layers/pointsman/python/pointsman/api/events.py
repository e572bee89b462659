"""Health events and Consul's watches, over HTTP."""

from collections.abc import Sequence
from typing import Any

from pointsman.api.refusals import later
from pointsman.api.request import Answer, Api, Declined, Request
from pointsman.model.era import Era
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognize import read_events
from pointsman.model.sources.task_tags import TaskTags
from pointsman.model.sources.text import read_json
from pointsman.pipeline.engine import Contended
from pointsman.pipeline.ingest import Ingested, ingest_all
from pointsman.pipeline.task_lists import expanded
from pointsman.pipeline.told import answer


def read_event(api: Api, request: Request) -> Reading:
    """The events in the body of a `POST /v1/events`. Raises InvalidInput, or Declined if the sender may not say so."""
    return _read(api, request, read_json(request.body))


def read_watch(api: Api, request: Request) -> Reading:
    """The events in what a watch of Consul posted. Raises as `read_event` does."""
    event = watch_event(request.parameters, request.headers.get("x-consul-index"), read_json(request.body))
    return _read(api, request, event)


def _read(api: Api, request: Request, raw: Any) -> Reading:
    reading = read_events(raw, api.settings())
    if isinstance(reading.missing, TaskTags):
        reading = read_events(api.with_tags(reading.missing), api.settings())
    reading = expanded(api.engine, reading)
    for event in reading.events:
        if reason := request.grant.refuses_report(event.datacenter, event.source):
            raise Declined(403, reason)
    return reading


def answered(reading: Reading, done: Sequence[Ingested | Exception], era: Era) -> Answer:
    """The answer when the events of `reading` were ingested into the store of this `era`, or the first error that kept
    one from it, raised."""
    ingested: list[Ingested] = []
    for each in done:
        if isinstance(each, Contended):
            # Producers repeat what is answered so.
            return later(str(each))
        if isinstance(each, Exception):
            raise each
        ingested.append(each)
    return Answer(200, answer(reading, ingested) | {"store": str(era)})


def take_event(api: Api, request: Request) -> Answer:
    """Answer a `POST /v1/events`, alone."""
    return _take(api, read_event(api, request))


def take_watch(api: Api, request: Request) -> Answer:
    """Answer a `POST /v1/consul/watch`, alone."""
    return _take(api, read_watch(api, request))


def _take(api: Api, reading: Reading) -> Answer:
    done = ingest_all(api.engine, reading.events)
    return answered(reading, done, api.engine.era)
