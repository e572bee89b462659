"""Where traffic goes, over HTTP."""

from pointsman.api.request import Answer, Api, Request
from pointsman.pipeline.status import status


def show_status(api: Api, request: Request) -> Answer:
    """Show which target of every resolver serves now, and why."""
    datacenter = request.parameters(("dc",)).get("dc", "")
    found = status(api.engine)
    resolvers = [each.json() for each in found.resolvers if datacenter in ("", each.datacenter)]
    return Answer(200, found.json() | {"resolvers": resolvers} | dict(api.more_status()))
