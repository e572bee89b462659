"""The mesh gateways that are known, over HTTP."""

from pointsman.api.request import Answer, Api, Request
from pointsman.pipeline.gateways import known_gateways


def show_all(api: Api, request: Request) -> Answer:
    """Show the mesh gateways of all datacenters, each where others reach it."""
    return Answer(200, {"gateways": [each.json() for each in known_gateways(api.engine)]})
