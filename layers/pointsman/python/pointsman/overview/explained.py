"""Reads from the store the chain of a service as its callers have it, with the health of every target."""

from dataclasses import replace

from pointsman.chain.compiler import compile_chain
from pointsman.chain.graph import ChainError, Overrides
from pointsman.chain.plan import SidecarPlan
from pointsman.chain.upstream import destination_of, overrides
from pointsman.failover.callers import callers_of
from pointsman.failover.explain import Explanation, explain_chain, inputs, silences
from pointsman.failover.rank import Facts
from pointsman.model.errors import InvalidInput
from pointsman.model.names import ServiceName
from pointsman.pipeline.config import Config, load_root
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.inputs import InputReadings
from pointsman.pipeline.known import known_names
from pointsman.store import keys


def read_explanation(engine: Engine, service: ServiceName, datacenter: str, caller: str = "") -> Explanation:
    """The chain of `service` as the sidecars of `datacenter` have it, or with the overrides of the registered sidecar
    of the service `caller` there.

    Raises InvalidInput if nothing names the service, the datacenter or the caller, or if the entries do not compile,
    and StoreError.
    """
    config = engine.config(load_root(engine.objects, engine.refresh().root))
    evaluated_in, over, calling = datacenter, Overrides(), None
    if caller:
        evaluated_in, over, calling = _upstream(config, caller, datacenter, service)
    if service.namespace not in config.entries.namespaces():
        raise InvalidInput.single("explain", "--namespace", f'"{service.namespace}" does not exist')
    known = known_names(engine, config)
    known.check_service(f'service "{service.name}"', service)
    known.check_datacenter("explain", "--dc", datacenter)
    try:
        chain = compile_chain(config.entries, service, evaluated_in, datacenter, overrides=over)
    except ChainError as error:
        raise InvalidInput.single(f'service "{service.name}"', "", str(error)) from None
    wanted = sorted(inputs(chain))
    listed = [*map(keys.catalog, wanted), *map(keys.silence, sorted(silences(chain))), keys.ORDERS]
    read = InputReadings(engine, engine.store.get_many(listed))
    now_ms = engine.now_ms()

    def facts(plan: SidecarPlan) -> Facts:
        return replace(read.of((), (), plan.orders).facts(plan), moment=now_ms)

    explanation = explain_chain(chain, read.of(wanted, silences(chain)).instances(), facts)
    return replace(explanation, callers=callers_of(config.entries, chain, calling))


def _upstream(config: Config, caller: str, dc: str, service: ServiceName) -> tuple[str, Overrides, ServiceName]:
    """The datacenter where the caller's upstream evaluates `service`, the overrides in its registration, and its
    service."""
    for registration in config.registrations.values():
        if registration.is_gateway or registration.datacenter != dc or registration.destination.name != caller:
            continue
        for upstream in registration.service.proxy.upstreams:
            if destination_of(registration, upstream) == service:
                over = overrides(config.entries, registration, upstream)
                return upstream.datacenter or dc, over, registration.destination
    raise InvalidInput.single(
        "explain", "--from", f'no sidecar of "{caller}" in {dc} is registered with {service} as an upstream'
    )
