"""Finds Consul's config entries, registrations and intentions in documents of any of the shapes in which people have
them: files that they wrote, files of its agents, Kubernetes resources, and answers of its API."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pointsman.importers.consul_default import default_action
from pointsman.importers.consul_fields import SAYS_NOTHING, reason_of
from pointsman.importers.consul_pieces import bare_name, bares, block, get, is_names, several, single, some, text
from pointsman.importers.consul_terraform import TERRAFORMS, entry_in, intention_in, is_terraform, resources
from pointsman.importers.pieces import Ledger, Piece, pieces
from pointsman.model.complaints import brief
from pointsman.model.consul_fields import KINDS_ELSEWHERE, says_nothing
from pointsman.model.entries import KINDS
from pointsman.model.errors import InvalidInput

MOST_UNITS: Final = 50_000
"""Entries, registrations and intentions of one import; most are instances of one registration."""

INSTANCES: Final = "is an instance's own; instances and their health come from events"

_PROXIES: Final = ("connect-proxy", "mesh-gateway")
_GATEWAYS: Final = ("api-gateway", "ingress-gateway", "terminating-gateway")
_ROW: Final = {
    **{each: f"Service{each}" for each in ("Kind", "ID", "Address", "Port", "TaggedAddresses", "Tags", "Meta")},
    **{each: f"Service{each}" for each in ("Weights", "Proxy", "Connect", "SocketPath", "EnableTagOverride")},
    "Service": "ServiceName",
    "Locality": "ServiceLocality",
    **{each: each for each in ("Namespace", "Partition", "PeerName")},
}
"""What a row of the catalog calls the fields of its service."""

_SETTINGS: Final = frozenset(
    (
        *("datacenter", "primarydatacenter", "datadir", "loglevel", "server", "retryjoin", "retryjoinwan", "bindaddr"),
        *("clientaddr", "advertiseaddr", "encrypt", "ports", "acl", "tls", "connect", "uiconfig", "telemetry"),
        *("nodename", "bootstrapexpect", "addresses", "autoencrypt", "watches", "performance", "dnsconfig", "limits"),
        *("verifyincoming", "verifyoutgoing", "cafile", "certfile", "keyfile", "startjoin", "domain", "nodemeta"),
    )
)
"""By what a file of an agent's settings is known, if it has neither services nor entries."""

_ABOUT: Final = {
    "CheckID": ("check", "is a check; health comes from events"),
    "Chain": ("chain", "is what Consul made of its entries"),
    "ACLs": ("namespace", "is a namespace; there is an entry for each that is used"),
    "Address": ("node", "is a node; instances come from events"),
}
"""Answers that hold no config: by a field, what they are, and why nothing is made of them."""

_ABOUT_SERVICES: Final = frozenset(("service", "services", "configentries"))
_OF_SIDECARS: Final = frozenset(("check", "checks", "token", "connect", "name", "proxy"))
_OURS: Final = {kind.replace("-", ""): kind for kind in (*KINDS, *KINDS_ELSEWHERE)}
_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COPY: Final = "what a service has beside its sidecar; instances come from events"
_CHECKS: Final = "checks: `pointsman agent` reads this file, and runs them"
_KUBERNETES: Final = "is Kubernetes' own"
_AGENT: Final = "is a setting of Consul's agent"
_PEERING: Final = "clusters are not peered; name a Datacenter instead, and let it be one of the same mesh"
_OF_SERVERS: Final = frozenset(("control-plane-request-limit", "rate-limit"))
"""Kinds that are about Consul's servers alone."""


@dataclass(slots=True, eq=False)
class Unit:
    """One entry or registration: its `kind` ("registration"), the `shape` in which it came, `whole` all that the source
    says of it, and `body` as Consul writes it. `adds` are fields that the source says in other words."""

    kind: str
    shape: str
    whole: Piece
    body: Piece
    adds: dict[str, Any] = field(default_factory=dict)
    rows: tuple[Piece, ...] = ()
    """What the source says of it at several places, if it does."""

    def sources(self) -> tuple[Piece, ...]:
        """The places of the source that say something of it."""
        return self.rows or (self.whole,)


class Gatherer:
    """Reads documents; `units` are those found so far."""

    def __init__(self, ledger: Ledger) -> None:
        self.units: list[Unit] = []
        self.intentions: list[Piece] = []
        """Rows of the API for intentions that Consul had before there was an entry for them."""
        self.seen: list[tuple[str, str, Piece]] = []
        """(kind, shape, piece) of what is something of Consul's and no unit."""
        self.rest: list[tuple[Piece, str]] = []
        """Pieces that are told of at the end, as far as nothing was made of them, and why."""
        self.trust_domains: dict[str, str] = {}
        """By trust domain, where it is said."""
        self.default_action = ""
        """What Consul does with a connection that no intention is about, "" if nothing says it."""
        self.datacenters: dict[str, set[str]] = {}
        """By directory, what the settings of agents in it say."""
        self._ledger = ledger
        self._known = False

    def read(self, documents: list[Any], file: str) -> None:
        """Find what is in the documents of one file. Raises InvalidInput if there is nothing of Consul's in it."""
        self._known = not documents
        strange = []
        for i, document in enumerate(documents):
            piece = pieces(file, f"[{i}]" if len(documents) > 1 else "", document)
            if not self._document(piece):
                strange.append(piece)
            if len(self.units) > MOST_UNITS:
                raise InvalidInput.single(
                    file, "", f"holds unit {MOST_UNITS + 1} of the import; import fewer at a time"
                )
        if strange and not self._known:
            reason = (
                "is none of what Consul's configuration is kept in: config entries, service definitions, files of an "
                "agent, Kubernetes resources of consul.hashicorp.com, answers of Consul's API, `terraform show -json`"
            )
            raise InvalidInput.single(file, "", reason)
        for piece in strange:
            self._ledger.name(piece, "is nothing of Consul's that is known here", "take it out of the file")
            self.seen.append(("document", "unknown", piece))

    def _by_default(self, settings: Piece | None) -> None:
        """Note what Consul does where there is no intention; if one of several settings denies it, that counts."""
        action = default_action(settings)
        self.default_action = "deny" if "deny" in (action, self.default_action) else action or self.default_action

    def _pass(self, kind: str, shape: str, piece: Piece, reason: str) -> bool:
        self._ledger.pass_over(piece, reason)
        self.seen.append((kind, shape, piece))
        self._known = True
        return True

    def _document(self, piece: Piece) -> bool:
        """Whether it is something of Consul's."""
        if isinstance(piece.value, str):
            return self._pass("names", "API", piece, "is a name alone, as /v1/catalog/datacenters answers")
        if not isinstance(piece.value, dict):
            return False
        if not piece.value:
            return self._pass("nothing", "API", piece, "says nothing")
        kind, service = text(piece, "Kind"), block(piece, "Service")
        node = block(piece, "Node")
        if text(piece, "apiVersion"):
            self._kubernetes(piece)
        elif is_terraform(piece):
            for each in resources(piece, self._ledger):
                self._terraform(each)
        elif text(piece, "ServiceName") and get(piece, "Node") is not None:
            self._row(piece)
        elif text(piece, "SourceName") and text(piece, "DestinationName"):
            self.intentions.append(piece)
        elif node is not None and service is not None:
            self._health(piece, node, service)
        elif node is not None and get(piece, "Services") is not None:
            self._node(piece, node)
        elif text(piece, "TrustDomain") and get(piece, "Roots") is not None:
            self.trust_domains.setdefault(text(piece, "TrustDomain"), f"{piece.file} {piece.path}".strip())
            return self._pass("CA", "API", piece, "certificates come from files or SDS (docs/envoy.md)")
        elif get(piece, "PeerID") is not None:
            self._ledger.name(piece, *reason_of(_PEERING))
            self.seen.append(("peering", "API", piece))
        elif (kind in _PROXIES and _is_definition(piece)) or _is_sidecar_service(piece):
            self._definition(piece, None, "service definition")
        elif text(piece, "Service") and (kind or get(piece, "ID") is not None):
            self._service(piece, piece, get(piece, "Datacenter"), "agent")
        elif kind:
            return self._entry(piece, "entry")
        elif bares(piece) & _ABOUT_SERVICES and (service is None or _is_definition(service)):
            self._agent_file(piece)
        elif service is not None:
            self._registered(piece, service)
        elif all(text(each, "Service") and text(each, "ID") for each in piece.value.values()):
            for each in piece.value.values():
                self._service(each, each, get(each, "Datacenter"), "agent")
        elif bares(piece) & {"config", "debugconfig"} and get(piece, "Member") is not None:
            self._by_default(block(piece, "DebugConfig"))
            return self._pass("agent", "API", piece, "is what an agent says of itself")
        elif (said := next((what for name, what in _ABOUT.items() if get(piece, name) is not None), None)) is not None:
            return self._pass(said[0], "API", piece, said[1])
        elif bares(piece) & _SETTINGS:
            self._agent_file(piece)
        elif all(is_names(each) for each in piece.value.values()):
            return self._pass("names", "API", piece, "are names and tags alone; /v1/catalog/service/NAME has the rest")
        else:
            return False
        self._known = True
        return True

    # Entries

    def _entry(self, piece: Piece, shape: str, body: Piece | None = None, adds: Mapping[str, Any] = {}) -> bool:
        """Add a config entry. Whether its kind is one of Consul's."""
        kind = str(adds.get("Kind") or text(piece, "Kind"))
        kind = _OURS.get(bare_name(kind).replace("-", ""), kind)
        if kind in KINDS:
            self._add(Unit(kind, shape, piece, body or piece, dict(adds)))
            return True
        if kind in _OF_SERVERS:
            return self._pass(kind, shape, piece, KINDS_ELSEWHERE[kind][1])
        if kind not in KINDS_ELSEWHERE:
            return False
        if kind == "mesh":
            self._by_default(body or piece)
        reason, instead = reason_of(KINDS_ELSEWHERE[kind][1])
        name = text(body or piece, "Name")
        self._ledger.name(piece, f'{kind} "{brief(name)}": {reason}' if name else f"{kind}: {reason}", instead)
        self.seen.append((kind, shape, piece))
        self._known = True
        return True

    def _kubernetes(self, piece: Piece) -> None:
        kind, items = text(piece, "kind"), get(piece, "items")
        if kind.endswith("List") and items is not None and isinstance(items.value, list):
            for each in items.value:
                self._kubernetes(each)
            self.rest.append((piece, _KUBERNETES))
            return
        metadata, spec = block(piece, "metadata"), block(piece, "spec")
        name = get(metadata, "name")
        if not text(piece, "apiVersion").startswith("consul.hashicorp.com/"):
            self._pass(f"Kubernetes' {brief(kind)}", "Kubernetes", piece, "is no resource of Consul's")
            return
        dashed = _CAPITAL.sub("-", kind).lower()
        if bare_name(dashed).replace("-", "") not in _OURS:
            self._ledger.name(piece, f"a {brief(kind)} has no counterpart", "see docs/from-consul.md for what to do")
            self.seen.append((brief(kind), "Kubernetes", piece))
            return
        for key, each in piece.value.items():
            if bare_name(key) not in ("metadata", "spec", "kind"):
                self._ledger.pass_over(each, _KUBERNETES)
        for key, each in metadata.value.items() if metadata is not None else ():
            if bare_name(key) != "name":
                self._ledger.pass_over(each, _KUBERNETES)
        destination = block(spec, "destination") if dashed == "service-intentions" else None
        fields = dict(spec.value) if spec is not None else {}
        if destination is not None:
            fields = {key: each for key, each in fields.items() if bare_name(key) != "destination"}
            name = get(destination, "name")
            fields |= some(destination, Namespace="namespace", Partition="partition")
        fields |= {"Name": name} if name is not None else {}
        self._entry(piece, "Kubernetes", Piece(piece.file, piece.path, fields), {"Kind": dashed})

    def _terraform(self, resource: Piece) -> None:
        """Add what a resource of Terraform's writes to Consul."""
        kind = text(resource, "type")
        if kind == "consul_config_entry":
            try:
                body = entry_in(resource)
            except InvalidInput as error:
                self._ledger.name(resource, str(error), "correct it")
                self.seen.append((kind, "Terraform", resource))
                return
            if not self._entry(resource, "Terraform", body, {"Kind": text(body, "kind")}):
                self._ledger.name(resource, "is no kind of Consul's config entries", "remove it, or correct its kind")
                self.seen.append((kind, "Terraform", resource))
        elif kind == "consul_intention" and (intention := intention_in(resource)) is not None:
            self.intentions.append(intention)
            for each in resource.value.values():
                self.rest.append((each, TERRAFORMS))
        elif kind.startswith("consul_config_entry_"):
            way = "import it from the Consul that it was written to (--url)"
            self._ledger.name(resource, f"{brief(kind)} is not read from here", way)
            self.seen.append((kind, "Terraform", resource))
        else:
            self._pass(kind or "resource", "Terraform", resource, "is not about the mesh")

    # Registrations

    def _row(self, row: Piece) -> None:
        """A row of /v1/catalog/service/NAME or /v1/catalog/connect/NAME."""
        service = Piece(row.file, row.path, some(row, **_ROW))
        self._service(row, service, get(row, "Datacenter"), "catalog", row)

    def _health(self, row: Piece, node: Piece, service: Piece) -> None:
        """An instance as /v1/health/service/NAME lists it."""
        self._service(row, service, get(node, "Datacenter"), "health", node)

    def _node(self, piece: Piece, node: Piece) -> None:
        """The services of a node."""
        services = get(piece, "Services")
        of_it = services.value if services is not None else []
        for each in of_it.values() if isinstance(of_it, dict) else of_it:
            self._service(each, each, get(node, "Datacenter"), "catalog", node)
        self.rest.append((piece, INSTANCES))

    def _registered(self, piece: Piece, service: Piece) -> None:
        """What /v1/catalog/register takes."""
        self._service(piece, service, get(piece, "Datacenter"), "registration", piece)

    def _service(
        self, whole: Piece, service: Piece, datacenter: Piece | None, shape: str, node: Piece | None = None
    ) -> None:
        """Add the registration of a service as Consul knows it, if it is a proxy."""
        kind = text(service, "Kind")
        if kind in _GATEWAYS:
            self._ledger.name(whole, *reason_of(KINDS_ELSEWHERE[kind][1]))
            self.seen.append((kind, shape, whole))
            return
        if kind not in _PROXIES:
            self._pass("service", shape, whole, INSTANCES)
            return
        body = {"Service": service} | ({"Datacenter": datacenter} if datacenter is not None else {})
        if node is not None:
            body |= some(node, Node="Node", Address="Address", TaggedAddresses="TaggedAddresses")
            body |= some(node, Partition="Partition", PeerName="PeerName")
        self._add(Unit("registration", shape, whole, Piece(whole.file, whole.path, body)))

    # Agents

    def _agent_file(self, piece: Piece) -> None:
        self._by_default(piece)
        datacenter = get(piece, "Datacenter")
        if datacenter is not None:
            self.datacenters.setdefault(os.path.dirname(piece.file), set()).add(str(datacenter.value))
        for key, each in piece.value.items():
            if says_nothing(each.plain()) and bare_name(key) != "datacenter":
                self._pass("setting", "agent file", each, SAYS_NOTHING)
            elif bare_name(key) == "configentries":
                entries = single(each)
                inner = get(entries, "bootstrap") if isinstance(entries.value, dict) else None
                for entry in several(inner if inner is not None else each):
                    if not self._entry(entry, "agent file"):
                        self._ledger.name(entry, "is no kind of Consul's config entries", "remove it, or correct Kind")
                        self.seen.append(("entry", "agent file", entry))
            elif bare_name(key) in ("service", "services"):
                for service in several(each):
                    self._definition(service, datacenter, "agent file")
            elif bare_name(key) in ("check", "checks"):
                self._pass("check", "agent file", each, _CHECKS)
            elif bare_name(key) != "datacenter":
                self._pass("setting", "agent file", each, _AGENT)
        if datacenter is not None:
            self._pass("setting", "agent file", datacenter, "is the datacenter of what is registered there")

    def _definition(self, piece: Piece, datacenter: Piece | None, shape: str) -> None:
        """A service as an agent's files define it."""
        if not isinstance(piece.value, dict):
            self._ledger.name(piece, "is no service", "write a mapping")
            self.seen.append(("service", shape, piece))
            return
        name, kind = get(piece, "Name"), text(piece, "Kind")
        connect = block(piece, "Connect")
        sidecar = block(connect, "SidecarService")
        where = datacenter if datacenter is not None else get(piece, "Datacenter")
        if kind:
            body = {key: each for key, each in piece.value.items() if bare_name(key) not in _OF_SIDECARS - {"proxy"}}
            body |= {"Service": name} if name is not None else {}
            body |= {} if get(piece, "ID") is not None or name is None else {"ID": name}
            self._checks(piece)
            self._service(piece, Piece(piece.file, piece.path, body), where, shape)
        elif sidecar is None or name is None:
            self._checks(piece)
            self._pass("service", shape, piece, "has no sidecar; instances come from events")
        else:
            self._sidecar(piece, sidecar, name, where, shape)

    def _sidecar(self, piece: Piece, sidecar: Piece, name: Piece, where: Piece | None, shape: str) -> None:
        """The sidecar that an agent registers for a service with `sidecar_service`."""
        proxy = block(sidecar, "Proxy")
        of_proxy = dict(proxy.value) if proxy is not None else {}
        own = {"DestinationServiceName": name, "LocalServicePort": get(piece, "Port")}
        given = {bare_name(key) for key, each in of_proxy.items() if each.value}
        of_proxy |= {key: each for key, each in own.items() if each is not None and bare_name(key) not in given}
        body = {key: each for key, each in sidecar.value.items() if bare_name(key) not in _OF_SIDECARS}
        body["Proxy"] = Piece(sidecar.file, sidecar.path, of_proxy)
        for key in ("Address", "Namespace", "Partition"):
            if get(sidecar, key) is None and (each := get(piece, key)) is not None:
                body[key] = each
        about = {"Service": Piece(piece.file, piece.path, body)} | ({"Datacenter": where} if where is not None else {})
        id_ = text(sidecar, "ID") or f"{text(piece, 'ID') or name.value}-sidecar-proxy"
        self._checks(piece)
        self._checks(sidecar)
        used = {id(leaf) for leaf in Piece(piece.file, piece.path, about).leaves()}
        for key, each in piece.value.items():
            if bare_name(key) != "connect" and not any(id(leaf) in used for leaf in each.leaves()):
                self._ledger.pass_over(each, _COPY)
        unit = Unit("registration", shape, piece, Piece(piece.file, piece.path, about))
        called = text(sidecar, "Name") or f"{name.value}-sidecar-proxy"
        unit.adds = {"Service": {"Kind": "connect-proxy", "ID": id_, "Service": called}}
        self._add(unit)

    def _checks(self, piece: Piece) -> None:
        for key, each in piece.value.items():
            if bare_name(key) in ("check", "checks"):
                self._ledger.pass_over(each, _CHECKS)

    def _add(self, unit: Unit) -> None:
        self.units.append(unit)
        self._known = True


def _is_definition(piece: Piece) -> bool:
    return bool(text(piece, "Name")) and get(piece, "Service") is None


def _is_sidecar_service(piece: Piece) -> bool:
    return (
        _is_definition(piece) and not text(piece, "Kind") and (get(piece, "Connect") or get(piece, "Port")) is not None
    )
