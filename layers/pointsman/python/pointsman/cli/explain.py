"""`pointsman explain`: shows where the traffic of a service goes, and why."""

from dataclasses import replace

import click
import orjson

from pointsman.chain.compiler import compile_chain
from pointsman.chain.graph import ChainError, Overrides
from pointsman.chain.plan import SidecarPlan
from pointsman.chain.upstream import destination_of, overrides
from pointsman.cli.command import command
from pointsman.cli.options import engine_on, store_option
from pointsman.failover.explain import explain_chain, explain_json, inputs, silences
from pointsman.failover.explain_text import explain_text
from pointsman.failover.rank import Facts
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.pipeline.config import Config, load_root
from pointsman.pipeline.inputs import InputReadings
from pointsman.pipeline.known import known_names
from pointsman.store import keys


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
    name = ServiceName(namespace, service)
    with engine_on(store) as engine:
        config = engine.config(load_root(engine.objects, engine.refresh().root))
        evaluated_in, over = _upstream(config, caller, dc, name) if caller else (dc, Overrides())
        if namespace not in config.entries.namespaces():
            raise InvalidInput.single("explain", "--namespace", f'"{namespace}" does not exist')
        known = known_names(engine, config)
        known.check_service(f'service "{service}"', name)
        known.check_datacenter("explain", "--dc", dc)
        try:
            chain = compile_chain(config.entries, name, evaluated_in, dc, overrides=over)
        except ChainError as error:
            raise InvalidInput.single(f'service "{service}"', "", str(error)) from None
        wanted = sorted(inputs(chain))
        listed = [*map(keys.catalog, wanted), *map(keys.silence, sorted(silences(chain))), keys.ORDERS]
        read = InputReadings(engine, engine.store.get_many(listed))
        instances = read.of(wanted, silences(chain)).instances()
        now_ms = engine.now_ms()

        def facts(plan: SidecarPlan) -> Facts:
            return replace(read.of((), (), plan.orders).facts(plan), moment=now_ms)

        explanation = explain_chain(chain, instances, facts)
    if as_json:
        click.echo(orjson.dumps(explain_json(explanation), option=orjson.OPT_INDENT_2).decode())
    else:
        click.echo(explain_text(explanation))


def _upstream(config: Config, caller: str, dc: str, service: ServiceName) -> tuple[str, Overrides]:
    """The datacenter where the caller's upstream evaluates `service`, and the overrides in its registration."""
    for registration in config.registrations.values():
        if registration.is_gateway or registration.datacenter != dc or registration.destination.name != caller:
            continue
        for upstream in registration.service.proxy.upstreams:
            if destination_of(registration, upstream) == service:
                return upstream.datacenter or dc, overrides(config.entries, registration, upstream)
    raise InvalidInput.single(
        "explain", "--from", f'no sidecar of "{caller}" in {dc} is registered with {service} as an upstream'
    )
