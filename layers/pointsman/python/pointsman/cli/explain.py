"""`pointsman explain`: shows where the traffic of a service goes, and why."""

import click
import orjson

from pointsman.cli.command import command
from pointsman.cli.place import Place, place_options
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, is_label


@command()
@place_options()
@click.option("--dc", required=True, metavar="DC", help="The datacenter of the callers.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option("--from", "caller", default="", metavar="SERVICE", help="As the sidecar of this service sees it.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.argument("service")
def explain(place: Place, dc: str, namespace: str, caller: str, as_json: bool, service: str) -> None:
    """Show the chain of SERVICE as a tree: routes, splits, and the targets in the order of failover.

    For each target: its gateway mode and where that is set, how many instances are healthy, whether it is active, and
    why. If intentions apply, who may call; with --from, whether that caller may. --from also takes the overrides of
    the registered sidecar's upstream into account.

    \b
      pointsman explain s2 --store pointsman.db --dc dc1
      pointsman explain s2 --url http://127.0.0.1:8420 --dc dc1 --from s1 --json
    """
    for field, value in (("SERVICE", service), ("--dc", dc), ("--namespace", namespace)):
        if not is_label(value):
            raise InvalidInput.single("explain", field, f'"{value}" is not a lower-case DNS label')
    with place.asked() as asked:
        found = asked.ask("GET", ("explain", service), {"dc": dc, "namespace": namespace, "caller": caller})
    text = found.pop("text")
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() if as_json else text)
