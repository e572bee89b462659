"""Config entries: what users write, one by one (docs/semantics.md, section 1)."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Annotated, Any, Final, Literal

from pydantic import ValidationError

from pointsman.model.complaints import MOST_PROBLEMS, brief, cut, problems_of, shown
from pointsman.model.consul_fields import KINDS_ELSEWHERE
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.failover_policy import FailoverPolicy
from pointsman.model.inbound import Connections, Expose, Milliseconds
from pointsman.model.intentions import EVERY, ServiceIntentions
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.model.owner import Owned
from pointsman.model.resolver import Complaint, ServiceResolver
from pointsman.model.router import ServiceRouter
from pointsman.model.shape import AnyMap, Block, InNamespace, StringMap, value_of
from pointsman.model.size import check_size
from pointsman.model.splitter import ServiceSplitter
from pointsman.model.upstream_config import MeshGateway, UpstreamConfig, UpstreamConfiguration


class ProxyDefaults(Owned):
    """Defaults for every service that sets nothing itself. The mesh has one such entry, named `global`."""

    kind: Literal["proxy-defaults"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    config: AnyMap = {}
    mesh_gateway: Annotated[MeshGateway, Block] = MeshGateway()
    expose: Annotated[Expose, Block] = Expose()
    meta: StringMap = {}

    @property
    def protocol(self) -> str:
        """`Config.protocol`, or "" if there is none."""
        return str(self.config.get("protocol") or "")

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        if self.name != "global":
            yield "Name", f'must be "global", not "{self.name}": there is one such entry for all services'
        if self.namespace != DEFAULT_NAMESPACE:
            yield "Namespace", f'must be "{DEFAULT_NAMESPACE}": there is one such entry for all namespaces'
        if not isinstance(self.config.get("protocol") or "", str):
            yield "Config.protocol", f"must be a string, not {shown(self.config['protocol'])}"
        yield from self.expose.check({})

    def labels(self) -> Iterator[Complaint]:
        """None: no name in it refers to anything."""
        return iter(())


class ServiceDefaults(Owned):
    """Protocol and mesh gateway mode of one service, how its sidecars take connections, and how they call others.

    Of the limit and the timeouts, 0 sets nothing.
    """

    kind: Literal["service-defaults"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    protocol: str = ""
    mesh_gateway: Annotated[MeshGateway, Block] = MeshGateway()
    max_inbound_connections: Connections = 0
    local_connect_timeout_ms: Milliseconds = 0
    local_request_timeout_ms: Milliseconds = 0
    expose: Annotated[Expose, Block] = Expose()
    upstream_config: Annotated[UpstreamConfiguration | None, Block] = None
    meta: StringMap = {}

    def upstream(self, service: ServiceName) -> tuple[UpstreamConfig | None, UpstreamConfig | None]:
        """How its sidecars call `service`: what is said of it by name, and of all."""
        if self.upstream_config is None:
            return None, None
        named = (each for each in self.upstream_config.overrides if each.name == service.name)
        own = next((each for each in named if (each.namespace or self.namespace) == service.namespace), None)
        return own, self.upstream_config.defaults

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        yield from self.expose.check({})
        if self.upstream_config:
            yield from self.upstream_config.check(self.namespace)

    def labels(self) -> Iterator[Complaint]:
        """None: no name in it refers to anything."""
        return iter(())


class Namespace(Owned):
    """Creates a namespace; `default` always exists."""

    kind: Literal["namespace"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    description: str = ""
    meta: StringMap = {}

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        if self.namespace != DEFAULT_NAMESPACE:
            yield "Namespace", f'must be "{DEFAULT_NAMESPACE}": namespaces do not nest'

    def labels(self) -> Iterator[Complaint]:
        """None: no name in it refers to anything."""
        return iter(())


Entry = (
    ProxyDefaults
    | ServiceDefaults
    | ServiceResolver
    | ServiceSplitter
    | ServiceRouter
    | ServiceIntentions
    | FailoverPolicy
    | Namespace
)

_KINDS: dict[str, type[Entry]] = {
    "failover-policy": FailoverPolicy,
    "namespace": Namespace,
    "proxy-defaults": ProxyDefaults,
    "service-defaults": ServiceDefaults,
    "service-intentions": ServiceIntentions,
    "service-resolver": ServiceResolver,
    "service-router": ServiceRouter,
    "service-splitter": ServiceSplitter,
}
KINDS = tuple(_KINDS)
"""The kinds of config entries."""

EntryKey = tuple[str, str, str]
"""(kind, namespace, name): there is one entry of each."""


def entry_shape(kind: str) -> type[Entry]:
    """The shape of the entries of this kind, one of KINDS."""
    return _KINDS[kind]


def key_of(entry: Entry) -> EntryKey:
    """The key under which `entry` is kept."""
    return (entry.kind, entry.namespace, entry.name)


def thing_of(raw: Mapping[str, Any]) -> str:
    """How messages name an entry: `service-resolver "s2"`, with its namespace if it is not the default one."""
    kind, name, namespace = (value_of(raw, each) for each in ("Kind", "Name", "Namespace"))
    kind = brief(kind) if kind and isinstance(kind, str) else "entry"
    text = f'{kind} "{brief(name)}"' if name else kind
    return f'{text} in namespace "{brief(namespace)}"' if namespace and namespace != DEFAULT_NAMESPACE else text


_ON_KUBERNETES: Final = {kind.replace("-", ""): kind for kind in KINDS}
"""The kinds by their names on Kubernetes, in lower case."""


def parse_entry(raw: Mapping[str, Any]) -> Entry:
    """The entry that `raw` (Consul's JSON shape, names in any capitals) describes, valid by itself.

    Raises InvalidInput with every problem of it. What only Consul has is dropped where it says nothing.
    """
    if not isinstance(raw, Mapping):
        raise InvalidInput.single("entry", "", f"must be a mapping with a Kind, not {shown(raw)}")
    thing = thing_of(raw)
    kind = value_of(raw, "Kind")
    if isinstance(kind, str) and kind in KINDS_ELSEWHERE:
        reason = f"is not supported by Pointsman: {KINDS_ELSEWHERE[kind][1]}"
        raise InvalidInput.single(thing, "Kind", reason)
    if not isinstance(kind, str) or kind not in _KINDS:
        given = f"{shown(kind)} is not a kind" if kind else "is required"
        if isinstance(kind, str) and kind.lower() in _ON_KUBERNETES:
            given += f" without the apiVersion of Kubernetes' resource; add it, or write {_ON_KUBERNETES[kind.lower()]}"
        raise InvalidInput.single(thing, "Kind", f"{given}; kinds are {', '.join(KINDS)}")
    check_size(raw, thing)
    try:
        entry = _KINDS[kind].model_validate(raw)
    except ValidationError as error:
        raise InvalidInput(problems_of(error, thing)) from None
    problems = [Problem(thing, field, reason) for field, reason in islice(_checks(entry), MOST_PROBLEMS + 1)]
    if problems:
        raise InvalidInput(cut(problems))
    return entry


def _checks(entry: Entry) -> Iterator[Complaint]:
    every = isinstance(entry, ServiceIntentions)
    for field, value in (("Name", entry.name), ("Namespace", entry.namespace)):
        if not is_label(value) and not (every and value == EVERY):
            yield field, _not_a_label(value)
    for field, value in entry.labels():
        if value and not is_label(value):
            yield field, _not_a_label(value)
    yield from entry.check()


def _not_a_label(value: str) -> str:
    return f"{shown(value)} is not a lower-case DNS label (letters, digits and inner hyphens, 63 at most)"


def entry_json(entry: Entry) -> dict[str, Any]:
    """`entry` in Consul's JSON shape, without fields at their default: the canonical form, the same for equal
    entries."""
    body = entry.model_dump(by_alias=True, exclude_defaults=True)
    return {"Kind": entry.kind, "Name": entry.name} | body
