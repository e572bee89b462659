"""Where the traffic of a service goes and why, over HTTP."""

from pointsman.api.request import Answer, Api, Request
from pointsman.failover.explain import explain_json
from pointsman.failover.explain_text import explain_text
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.overview.explained import read_explanation


def show_explanation(api: Api, request: Request) -> Answer:
    """Show the chain of a service as its callers in a datacenter have it, as JSON values and as text for people."""
    parameters = request.parameters
    service = ServiceName(parameters.get("namespace") or DEFAULT_NAMESPACE, request.values["service"])
    datacenter = parameters.get("dc", "")
    for field, value in (("SERVICE", service.name), ("--dc", datacenter), ("--namespace", service.namespace)):
        if not is_label(value):
            raise InvalidInput.single("explain", field, f'"{value[:80]}" is not a lower-case DNS label')
    explanation = read_explanation(api.engine, service, datacenter, parameters.get("caller", ""))
    return Answer(200, {"schema": 1, **explain_json(explanation), "text": explain_text(explanation)})
