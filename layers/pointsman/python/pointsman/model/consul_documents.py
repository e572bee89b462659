"""What people bring from Consul, as the documents that Pointsman keeps: config entries and registrations.

Entries come as they are, in an agent's files, or as Kubernetes resources. Registrations come as what Consul's catalog
takes, as what its agent answers or takes, or as service definitions in an agent's files.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pointsman.model.complaints import brief, shown
from pointsman.model.consul_fields import says_nothing
from pointsman.model.errors import InvalidInput
from pointsman.model.inbound import CONFIG_NUMBERS
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.shape import bare, single_block, value_of

Document = Mapping[str, Any]

_CRD_GROUP: Final = "consul.hashicorp.com/"
_SIDECARS_AND_GATEWAYS: Final = ("connect-proxy", "mesh-gateway")
_OF_RESOURCES: Final = frozenset(("apiversion", "kind", "metadata", "spec", "status"))
_GATEWAY_KINDS: Final = ("api-gateway", "ingress-gateway", "terminating-gateway")
_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ABOUT_SERVICES: Final = frozenset(("service", "services", "configentries", "datacenter", "check", "checks"))
_OF_DEFINITIONS: Final = frozenset(("check", "checks", "token", "connect", "name"))
USED_OF_CONFIG: Final = {
    "ProxyDefaults": frozenset(("protocol", *map(bare, CONFIG_NUMBERS))),
    "Proxy": frozenset(("connecttimeoutms", "accesslogpath", *map(bare, CONFIG_NUMBERS))),
}
"""What is used of the `Config` that Consul hands on to Envoy, by the shape that has it."""

_NAMED: Final = 10


def config_documents(documents: Iterable[Document], *, datacenter: str = "") -> tuple[list[Document], list[str]]:
    """The entries and registrations that `documents` are or hold, in order, and what of them is passed over, one line
    for each.

    `datacenter` is that of registrations that name none: Consul's agent says it in its settings, if at all. A document
    that holds neither stays as it is, for those who parse it to refuse. Raises InvalidInput for a list of entries or
    services that is none, and if all is passed over.
    """
    reader = _Reader(datacenter)
    for document in documents:
        reader.read(document)
    for document in reader.found:
        reader.registered(document)
    if reader.passed_over and not reader.found:
        raise InvalidInput.single(
            "the batch", "", f"has no config entry and no registration; passed over: {reader.passed_over[0]}"
        )
    return reader.found, reader.passed_over


class _Reader:
    def __init__(self, datacenter: str) -> None:
        self.datacenter = datacenter
        self.found: list[Document] = []
        self.passed_over: list[str] = []

    def read(self, document: Document) -> None:
        """Add what one document is or holds."""
        kind = value_of(document, "Kind")
        service = single_block(value_of(document, "Service"))
        if isinstance(value_of(document, "apiVersion"), str):
            self.kubernetes(document, kind)
        elif kind in _SIDECARS_AND_GATEWAYS and _is_definition(document):
            self.definition(document, value_of(document, "Datacenter"))
        elif kind in _SIDECARS_AND_GATEWAYS or isinstance(service, str) or (kind in _GATEWAY_KINDS and service):
            self.service(document, value_of(document, "Datacenter"))
        elif kind is not None:
            self.entry(document, kind)
        elif {bare(str(key)) for key in document} & {"configentries", "services"} or _is_definition(service):
            self.agent_file(document)
        elif _is_definition(document) and value_of(document, "Connect"):
            self.definition(document, None)
        elif document and all(_is_answer(each) for each in document.values()):
            for each in document.values():
                self.service(each, value_of(each, "Datacenter"))
        elif isinstance(service, Mapping) and self.datacenter and not value_of(document, "Datacenter"):
            self.found.append({**document, "Datacenter": self.datacenter})
        else:
            self.found.append(document)

    def entry(self, entry: Document, kind: Any) -> None:
        """Add a config entry."""
        if kind == "proxy-defaults":
            self.unused('proxy-defaults "global": Config', value_of(entry, "Config"), USED_OF_CONFIG["ProxyDefaults"])
        self.found.append(entry)

    def registered(self, document: Document) -> None:
        """Tell what of a registration's `Proxy.Config` is not used."""
        service = single_block(value_of(document, "Service"))
        proxy = single_block(value_of(service, "Proxy")) if isinstance(service, Mapping) else None
        if isinstance(service, Mapping) and isinstance(proxy, Mapping):
            name = value_of(service, "ID") or value_of(service, "Service")
            self.unused(
                f'registration "{brief(name)}": Proxy.Config', value_of(proxy, "Config"), USED_OF_CONFIG["Proxy"]
            )

    def unused(self, place: str, config: Any, used: frozenset[str]) -> None:
        """Tell what is set in the `Config` of proxies, which Consul hands on to Envoy, and is not used here."""
        config = single_block(config)
        others = [str(key) for key, inner in config.items() if inner] if isinstance(config, Mapping) else []
        if named := _named([key for key in others if bare(key) not in used]):
            self.passed_over.append(f"{place}: {named}: not used; `pointsman bootstrap` has what Envoys are told here")

    # --- Kubernetes ---

    def kubernetes(self, document: Document, kind: Any) -> None:
        """Add what a Kubernetes resource says, or what those in a list say."""
        items = value_of(document, "items")
        if isinstance(items, list) and str(kind).endswith("List"):
            for each in _mappings(items, f"{kind}.items"):
                self.read(each)
            return
        metadata = value_of(document, "metadata")
        metadata = metadata if isinstance(metadata, Mapping) else {}
        name = metadata.get("name")
        if not str(value_of(document, "apiVersion")).startswith(_CRD_GROUP):
            self.passed_over.append(f"Kubernetes' {brief(kind)} \"{brief(name)}\" is not one of Consul's resources")
            return
        entry = {"Kind": _CAPITAL.sub("-", str(kind)).lower(), "Name": name}
        thing = f'{entry["Kind"]} "{brief(name)}"'
        if entry["Kind"] in _SIDECARS_AND_GATEWAYS:
            raise InvalidInput.single(thing, "kind", "is no config entry of Consul's; register each gateway instead")
        for key, inner in document.items():
            if bare(str(key)) not in _OF_RESOURCES and not says_nothing(inner):
                raise InvalidInput.single(thing, brief(key), "stands beside spec, where it means nothing; indent it")
        spec = value_of(document, "spec")
        if spec is not None and not isinstance(spec, Mapping):
            raise InvalidInput.single(thing, "spec", f"must be a mapping, not {shown(spec)}")
        if entry["Kind"] == "service-intentions":
            # The resource has a name of its own.
            entry = {"Kind": entry["Kind"], **_destination(spec or {}, thing)}
            spec = {key: inner for key, inner in (spec or {}).items() if bare(str(key)) != "destination"}
        namespace = metadata.get("namespace") or DEFAULT_NAMESPACE
        if namespace != DEFAULT_NAMESPACE:
            own = value_of(entry, "Namespace") or DEFAULT_NAMESPACE
            self.passed_over.append(
                f'{thing}: metadata.namespace "{brief(namespace)}" is Kubernetes\', not '
                f'Consul\'s: the entry is in namespace "{brief(own)}"'
            )
        self.entry({**(spec or {}), **entry}, entry["Kind"])

    # --- agents ---

    def agent_file(self, document: Document) -> None:
        """Add what a file of an agent's settings says of entries and services."""
        datacenter = value_of(document, "Datacenter")
        for entry in _bootstrapped(value_of(document, "config_entries")):
            self.read(entry)
        for key in ("Service", "Services"):
            for each in _mappings(value_of(document, key), key.lower()):
                self.definition(each, datacenter)
        if named := _named([str(key) for key in document if bare(str(key)) not in _ABOUT_SERVICES]):
            self.passed_over.append(f"settings of Consul's agent: {named}")
        if _denies_by_default(document):
            self.passed_over.append(
                "settings of Consul's agent: they deny what no intention allows, which is allowed here, until an entry "
                'of Kind service-intentions, Name "*" and Namespace "*" denies it; `pointsman import consul` writes one'
            )

    def definition(self, definition: Document, datacenter: Any) -> None:
        """Add what a service definition registers: the sidecar of its service, or the proxy that it is itself."""
        connect = single_block(value_of(definition, "Connect"))
        sidecar = single_block(value_of(connect, "SidecarService")) if isinstance(connect, Mapping) else None
        name = value_of(definition, "Name")
        if value_of(definition, "Kind"):
            body = {key: inner for key, inner in definition.items() if bare(str(key)) not in _OF_DEFINITIONS}
            self.service({"ID": name, **body, "Service": name}, datacenter)
        elif isinstance(sidecar, Mapping):
            self.service(_sidecar(definition, sidecar), datacenter)
        else:
            self.passed_over.append(f'service "{brief(name)}": no sidecar, so nobody in the mesh reaches it')
        if value_of(definition, "Check") or value_of(definition, "Checks"):
            self.passed_over.append(f'service "{brief(name)}": its checks are run by `pointsman agent`, not from here')

    def service(self, service: Document, datacenter: Any) -> None:
        """Add the registration of a proxy as an agent knows it."""
        kind = value_of(service, "Kind")
        if kind not in _SIDECARS_AND_GATEWAYS:
            name = value_of(service, "ID") or value_of(service, "Service")
            what = f"{kind} is not supported by Pointsman" if kind else "neither a sidecar nor a mesh gateway"
            self.passed_over.append(f'service "{brief(name)}": {what}')
            return
        where = datacenter or self.datacenter
        self.found.append({"Service": service} | ({"Datacenter": where} if where else {}))


def _destination(spec: Document, thing: str) -> Document:
    """Name and namespace of the service that an intention in Kubernetes is for."""
    found = single_block(value_of(spec, "destination"))
    if not isinstance(found, Mapping) or not value_of(found, "name"):
        raise InvalidInput.single(thing, "spec.destination.name", 'is required: the service that is called, or "*"')
    return {"Name" if bare(str(key)) == "name" else str(key): inner for key, inner in found.items()}


def _named(keys: list[str]) -> str:
    """The first of `keys`, for a message."""
    return ", ".join(map(brief, keys[:_NAMED])) + (", …" if len(keys) > _NAMED else "")


def _sidecar(definition: Document, sidecar: Document) -> Document:
    """What Consul's agent registers for a service with `sidecar_service`."""
    name = value_of(definition, "Name")
    id_ = value_of(definition, "ID") or name
    proxy = single_block(value_of(sidecar, "Proxy"))
    own = {
        "DestinationServiceName": name,
        "DestinationServiceID": id_,
        "LocalServicePort": value_of(definition, "Port") or 0,
    }
    proxy = proxy if isinstance(proxy, Mapping) else {}
    given = {bare(str(key)) for key, inner in proxy.items() if inner}
    body = {key: inner for key, inner in sidecar.items() if bare(str(key)) not in (*_OF_DEFINITIONS, "proxy")}
    registered = {
        "Kind": "connect-proxy",
        "Service": value_of(sidecar, "Name") or f"{name}-sidecar-proxy",
        "Proxy": {**proxy, **{key: inner for key, inner in own.items() if bare(key) not in given}},
    }
    inherited = (
        ("ID", f"{id_}-sidecar-proxy"),
        *((key, value_of(definition, key)) for key in ("Address", "Namespace")),
    )
    for key, default in inherited:
        if not value_of(body, key) and default:
            registered[key] = default
    taken = set(map(bare, registered))
    return {key: inner for key, inner in body.items() if bare(str(key)) not in taken} | registered


def _is_definition(value: Any) -> bool:
    """Whether it is a service as an agent's files or its API define it: it has a name, and no `Service`."""
    if isinstance(value, list):
        return bool(value) and all(map(_is_definition, value))
    return isinstance(value, Mapping) and bool(value_of(value, "Name")) and not value_of(value, "Service")


def _is_answer(value: Any) -> bool:
    """Whether it is a service as an agent answers it."""
    return isinstance(value, Mapping) and isinstance(value_of(value, "Service"), str) and bool(value_of(value, "ID"))


def _denies_by_default(settings: Document) -> bool:
    """Whether an agent's settings deny what no intention allows."""
    if own := value_of(settings, "default_intention_policy"):
        return bool(own == "deny")
    acl = single_block(value_of(settings, "acl"))
    return isinstance(acl, Mapping) and bool(value_of(acl, "enabled")) and value_of(acl, "default_policy") == "deny"


def _bootstrapped(value: Any) -> list[Document]:
    """The entries of an agent's `config_entries`: a list of them, or `bootstrap` with one or a list."""
    inner = single_block(value)
    if isinstance(inner, Mapping) and {bare(str(key)) for key in inner} == {"bootstrap"}:
        return _mappings(value_of(inner, "bootstrap"), "config_entries.bootstrap")
    return _mappings(value, "config_entries")


def _mappings(value: Any, place: str) -> list[Document]:
    items = value if isinstance(value, list) else [] if value is None else [value]
    for item in items:
        if not isinstance(item, Mapping):
            raise InvalidInput.single(place, "", f"a mapping is required, not {shown(item)}")
    return items
