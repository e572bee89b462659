"""What happened, over HTTP."""

from pointsman.api.request import Answer, Api, Request
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.overview.past import read_history, read_moment, read_moment_of, read_span

DEFAULT_SPAN = "24h"
"""What is shown if nothing is asked for."""


def show_history(api: Api, request: Request) -> Answer:
    """Show what happened since a while, or who served at a moment."""
    parameters, now = request.parameters, api.engine.now()
    service = None
    if name := parameters.get("service"):
        service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, name)
    datacenter, at, since = (parameters.get(each, "") for each in ("dc", "at", "since"))
    if at and since:
        raise InvalidInput.single("history", "at", "is about one moment, and since about a span; give one of them")
    if at:
        return Answer(200, read_moment_of(api.engine, read_moment(at, now), service, datacenter).json())
    return Answer(200, read_history(api.engine, read_span(since or DEFAULT_SPAN, now), service, datacenter).json())
