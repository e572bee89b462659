"""Who tells of health, over HTTP."""

from typing import Any

from pointsman.api.request import Answer, Api, Declined, Request, switched_on
from pointsman.pipeline.sources import KnownSource, NoSuchSource, find_source, forget, known_sources, moved


def show_sources(api: Api, request: Request) -> Answer:
    """Show each source of health: of what it tells, its lease, and when it was last heard."""
    datacenter = request.parameters.get("dc", "")
    return Answer(200, [each.json() for each in known_sources(api.engine, datacenter)])


def forget_source(api: Api, request: Request) -> Answer:
    """Take away all instances of which a source tells, and its lease."""
    parameters = request.parameters
    dry_run = switched_on(parameters, "dry_run")
    try:
        found = find_source(api.engine, request.values["name"], parameters.get("dc", ""))
    except NoSuchSource as error:
        raise Declined(404, str(error)) from None
    return Answer(200, forgotten_body(found, dry_run, [] if dry_run else moved(forget(api.engine, found))))


def forgotten_body(found: KnownSource, dry_run: bool, moved: list[str]) -> dict[str, Any]:
    """What was, or would be, taken away, and the clusters that moved, as plain JSON values."""
    return found.json() | {"dry_run": dry_run, "moved": moved}
