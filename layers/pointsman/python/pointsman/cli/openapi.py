"""`pointsman openapi`: the description of the HTTP API."""

import click
import orjson

from pointsman.api.openapi import document
from pointsman.cli.command import command


@command()
def openapi() -> None:
    """Print the description of the HTTP API, as OpenAPI 3.1. A running `pointsman up` has it at /openapi.json.

    \b
      pointsman openapi > openapi.json
    """
    click.echo(orjson.dumps(document(), option=orjson.OPT_INDENT_2).decode())
