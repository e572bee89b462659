"""`pointsman explain`: shows where the traffic of a service goes, and why."""

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.options import engine_on, store_option
from pointsman.failover.explain import explain_json
from pointsman.failover.explain_text import explain_text
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.overview.explained import read_explanation


@command()
@store_option
@click.option("--dc", required=True, metavar="DC", help="The datacenter of the callers.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--from", "caller", default="", metavar="SERVICE", help="As the sidecar of this service sees it.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("service")
def explain(store: str, dc: str, namespace: str, caller: str, as_json: bool, service: str) -> None:
    """Show the chain of SERVICE as a tree: routes, splits, and the targets in the order of failover.

    For each target: its gateway mode and where that is set, how many instances are healthy, whether it is active, and
    why. --from takes the overrides of a registered sidecar's upstream into account.

    \b
      pointsman explain s2 --store pointsman.db --dc dc1
      pointsman explain s2 --store pointsman.db --dc dc1 --from s1 --json
    """
    for field, value in (("SERVICE", service), ("--dc", dc), ("--namespace", namespace)):
        if not is_label(value):
            raise InvalidInput.single("explain", field, f'"{value}" is not a lower-case DNS label')
    with engine_on(store) as engine:
        explanation = read_explanation(engine, ServiceName(namespace, service), dc, caller)
    if as_json:
        click.echo(orjson.dumps(explain_json(explanation), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(explain_text(explanation))
