"""Where traffic goes, over HTTP."""

from pointsman.api.request import Answer, Api, Request
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.overview.instances import read_instances
from pointsman.pipeline.config import load_root
from pointsman.pipeline.known import known_names
from pointsman.pipeline.status import status


def show_status(api: Api, request: Request) -> Answer:
    """Show which target of every resolver serves now, and why."""
    datacenter = request.parameters.get("dc", "")
    found = status(api.engine)
    if datacenter and all(each.datacenter != datacenter for each in found.resolvers):
        config = api.engine.config(load_root(api.engine.objects, api.engine.refresh().root))
        known_names(api.engine, config).check_datacenter("status", "dc", datacenter)
    resolvers = [each.json() for each in found.resolvers if datacenter in ("", each.datacenter)]
    return Answer(200, found.json() | {"resolvers": resolvers} | dict(api.more_status()))


def show_instances(api: Api, request: Request) -> Answer:
    """Show the instances of a service: how each is, what its checks printed, who said so and when."""
    parameters = request.parameters
    service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, request.values["service"])
    return Answer(200, read_instances(api.engine, service, parameters.get("dc", "")).json())
