"""`pointsman emit`: sends health events, by hand, from a script, or from a Consul watch."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import parse_qsl

import click

from pointsman.cli.command import command
from pointsman.cli.ecs_tasks import ecs_tasks_option, read_ecs_tasks
from pointsman.cli.everywhere import ask_all, tell_behind
from pointsman.cli.options import engine_on, read_text
from pointsman.cli.place import Place, place_options
from pointsman.cli.remote import Remote
from pointsman.model.sources.consul_watch import watch_event
from pointsman.model.sources.reading import Reading
from pointsman.model.sources.recognize import SourceSettings, read_events
from pointsman.model.sources.task_tags import TaskTags
from pointsman.model.sources.text import read_json
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.ingest import ingest_all
from pointsman.pipeline.task_lists import expanded
from pointsman.pipeline.told import IGNORED, answer, effect, remarks

STALE = 3
"""The exit code if an event is stale: its source already stated something else with an equal or greater Index."""

REFUSED = 4
"""The exit code if some instances of a list were refused and the others accepted."""

_PATIENCE_S = 30.0
"""Seconds to wait for the acknowledgment of an event."""


@command()
@place_options(writes=True, several=True)
@ecs_tasks_option
@click.option(
    "--watch",
    default="",
    metavar="PARAMETERS",
    help="FILE is what a Consul watch gave, of type=service&dc=DC&service=NAME (docs/sources.md).",
)
@click.argument("file", metavar="FILE|-")
def emit(place: Place, ecs_tasks: str, watch: str, file: str) -> int:
    """Send health events. Exits when every event is durable and its snapshots are published.

    FILE holds one event or a list of them as JSON; "-" is standard input. With --url they go to a running `pointsman
    up`, or to several; with --store this command ingests them itself.

    Exit codes: 0 every event is accepted; 1 one is refused (then none is sent), or could not be sent; 3 one is stale:
    its source already stated something else with an equal or greater Index, so it has no effect (stderr names the Index
    needed); 4 some instances of a list are refused (stderr says which and why), the others are accepted; 5
    one of several --url did not take them in, and is named. With --watch the command exits with 0 instead of 3 and 4: a
    failed program would end the watch, and running it again would not help.

    \b
      pointsman emit --url http://127.0.0.1:8420 events/service-health-changed.json
      pointsman emit --url unix:/run/pointsman/events.sock events/service-health-changed.json
      pointsman emit --url https://10.1.0.5:8443 --token-file token --ca ca.pem event.json
      producer | pointsman emit --store pointsman.db -
      consul watch -type service -service web-sidecar-proxy \\
          "pointsman emit --store pointsman.db --watch 'type=service&dc=dc1&service=web' -"
    """
    loaded = read_json(read_text(file), "standard input" if file == "-" else file)
    if watch:
        parameters = dict(parse_qsl(watch, keep_blank_values=True))
        loaded = [watch_event(parameters, os.environ.get("CONSUL_INDEX"), loaded)]
    events = loaded if isinstance(loaded, list) else [loaded]
    # Over HTTP the settings are those of `up`, and this reading only finds what is wrong before anything is sent.
    settings = SourceSettings(read_ecs_tasks(ecs_tasks))
    readings = [read_events(event, settings) for event in events]
    if len(place.urls) > 1:
        return _sent_to_all(place.remotes, events, watches=bool(watch))
    if place.urls:
        (remote,) = place.remotes
        outcomes = [_tell(_sent(remote, event)) for event in events]
    else:
        readings = [_with_tags(reading, settings) for reading in readings]
        with engine_on(place.store, writes=True, notices=place.notices) as engine:
            outcomes = [_tell(told) for told in _taken_in(engine, readings)]
    # A failed program ends the watch, and the same list would fail again.
    return 0 if watch else max(outcomes, default=0)


def _sent(remote: Remote, event: Any) -> Any:
    return remote.ask("POST", ("events",), body=event, patience=_PATIENCE_S)


def _sent_to_all(remotes: Sequence[Remote], events: Sequence[Any], *, watches: bool) -> int:
    """Send the events to each, print the answers, and return the exit code. Raises Lines if nobody takes them in."""
    outcomes = ask_all(remotes, lambda remote: [_sent(remote, event) for event in events])
    told = [(each.url, one) for each in outcomes if each.error is None for one in each.told]
    code = max((_tell(one, f"{url}: ") for url, one in told), default=0)
    return tell_behind(outcomes) or (0 if watches else code)


def _with_tags(reading: Reading, settings: SourceSettings) -> Reading:
    """`reading`, with the tags of the task that it is about if these decide whose instance that is."""
    if not isinstance(reading.missing, TaskTags):
        return reading
    # Imported here: few events need it.
    from pointsman.aws.task_tags import TagsOfTasks
    from pointsman.store.session import new_session

    return read_events(TagsOfTasks(new_session()).filled(reading.missing), settings)


def _taken_in(engine: Engine, readings: Sequence[Reading]) -> Iterator[dict[str, Any]]:
    """The answers to `readings`, in order. Raises the first error that kept an event from being ingested."""
    readings = [expanded(engine, each) for each in readings]
    outcomes = iter(ingest_all(engine, [event for reading in readings for event in reading.events]))
    for reading in readings:
        done = []
        for outcome in islice(outcomes, len(reading.events)):
            if isinstance(outcome, Exception):
                raise outcome
            done.append(outcome)
        yield answer(reading, done)


def _tell(told: Mapping[str, Any], where: str = "") -> int:
    """Print an answer and return its exit code."""
    for line in remarks(told):
        click.echo(f"{where}{line}", err=not line.startswith(IGNORED))
    if told["revision"] is not None or not told["ignored"]:
        click.echo(f"{where}{effect(told)}")
    return REFUSED if told["refused"] else STALE if told["stale"] else 0
