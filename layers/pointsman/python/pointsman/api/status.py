"""Where traffic goes, over HTTP."""

from pointsman.api.request import Answer, Api, Request
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.overview.instances import read_instances
from pointsman.overview.proxies import read_proxies
from pointsman.overview.reading import read_now


def show_status(api: Api, request: Request) -> Answer:
    """Show which target of every service serves now, since when and why, the worst first; or that of one service."""
    parameters = request.parameters
    service = None
    if name := parameters.get("service"):
        service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, name)
    found = read_now(api.engine, service, parameters.get("dc", ""))
    return Answer(200, found.json() | dict(api.more_status()))


def show_instances(api: Api, request: Request) -> Answer:
    """Show the instances of a service: how each is, what its checks printed, who said so and when."""
    parameters = request.parameters
    service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, request.values["service"])
    return Answer(200, read_instances(api.engine, service, parameters.get("dc", "")).json())


def show_proxies(api: Api, request: Request) -> Answer:
    """Show which Envoy has what, by which adapter, and which is behind or rejects something, the worst first."""
    parameters = request.parameters
    service = None
    if name := parameters.get("service"):
        service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, name)
    return Answer(200, read_proxies(api.engine, service, parameters.get("dc", "")).json())
