"""What Consul's agents make of entries before a sidecar gets its config, and Pointsman reads differently.

An agent merges `proxy-defaults` and the `service-defaults` of a service into the registrations of its sidecars. So the
gateway mode for what a service calls is its own before it is that of the service called, and the protocol of
`proxy-defaults` holds beside a `service-defaults` that names none.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from pointsman.chain.complaints import thing
from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.importers.pieces import Ledger
from pointsman.model.entries import Entry, EntryKey, ProxyDefaults, ServiceDefaults
from pointsman.model.names import ServiceName
from pointsman.model.registration import Registration
from pointsman.model.upstream_config import MeshGateway, Mode

_SHOWN: Final = 3


def with_protocols(entries: Mapping[EntryKey, Entry], ledger: Ledger) -> dict[EntryKey, Entry]:
    """The `service-defaults` that get the protocol of `proxy-defaults`, because they name none: in Consul their
    sidecars and those of their callers speak it all the same, while here such an entry means tcp."""
    general = next((each.protocol for each in entries.values() if isinstance(each, ProxyDefaults)), "")
    changed: dict[EntryKey, Entry] = {
        key: each.model_copy(update={"protocol": general})
        for key, each in entries.items()
        if isinstance(each, ServiceDefaults) and not each.protocol
    }
    if not changed or general.lower() in ("", "tcp"):
        return {}
    known = {each.thing for each in validate(EntrySet.of(entries.values()), entries)}
    after = {**entries, **changed}
    said = f"proxy-defaults names the protocol {general}, and {_some(map(thing, changed))} none"
    if {each.thing for each in validate(EntrySet.of(after.values()), after)} - known:
        ledger.remarks.append(f"{said}, which means tcp here: name it where it fits to the other services of a chain")
        return {}
    ledger.remarks.append(f"{said}, which means tcp here: it is written there, since Consul's sidecars speak it")
    return changed


def with_modes(registrations: Collection[Registration], entries: Iterable[Entry], ledger: Ledger) -> list[Registration]:
    """The registrations, with the gateway mode that Consul's entries come to for all their upstreams where the same
    entries come to another one here."""
    defaults: dict[ServiceName, ServiceDefaults] = {}
    general: Mode = ""
    for each in entries:
        if isinstance(each, ServiceDefaults):
            defaults[ServiceName(each.namespace, each.name)] = each
        elif isinstance(each, ProxyDefaults):
            general = each.mesh_gateway.mode
    modes = {general, *(each.mesh_gateway.mode for each in defaults.values() if each.mesh_gateway.mode)}
    out = []
    changed = []
    for registration in registrations:
        wanted = _mode(registration, defaults.get(registration.destination), general)
        if not wanted or modes == {wanted}:
            out.append(registration)
            continue
        service = registration.service
        proxy = service.proxy.model_copy(update={"mesh_gateway": MeshGateway(mode=wanted)})
        out.append(registration.model_copy(update={"service": service.model_copy(update={"proxy": proxy})}))
        changed.append(f"{registration.key} ({wanted})")
    if changed:
        ledger.remarks.append(
            "in Consul the MeshGateway.Mode of a service that calls, else of proxy-defaults, comes before that of the "
            f"service called; so it is written at the registration of {_some(changed)}"
        )
    return out


def _mode(registration: Registration, own: ServiceDefaults | None, general: Mode) -> Mode:
    """The mode that Consul gives the upstreams of a sidecar by entries alone; "" if something else says it, here too,
    or if it has no upstreams."""
    proxy = registration.service.proxy
    of_all = own.upstream_config.defaults if own and own.upstream_config else None
    if registration.is_gateway or proxy.mesh_gateway.mode or not proxy.upstreams:
        return ""
    if of_all and of_all.mesh_gateway.mode:
        return ""
    return (own.mesh_gateway.mode if own else "") or general


def _some(names: Iterable[str]) -> str:
    """The first of `names`, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
