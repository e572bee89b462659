"""The config entries of a mesh, with the look-ups of the compiler."""

from collections.abc import Iterable, Iterator, Mapping

from pointsman.model.entries import Entry, EntryKey, Namespace, ProxyDefaults, ServiceDefaults, key_of
from pointsman.model.failover_policy import FOR_ALL, FailoverPolicy
from pointsman.model.intentions import EVERY, ServiceIntentions
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName
from pointsman.model.overlay import Overlay
from pointsman.model.resolver import ServiceResolver
from pointsman.model.router import ServiceRouter
from pointsman.model.splitter import ServiceSplitter

GLOBAL_POLICY: EntryKey = ("failover-policy", DEFAULT_NAMESPACE, FOR_ALL)

Referring = Mapping[ServiceName, frozenset[EntryKey]]
"""By service, the keys of the entries that refer to it."""


class EntrySet:
    """An immutable set of entries, one per (kind, namespace, name)."""

    __slots__ = ("_entries", "_namespaces", "_referring")

    def __init__(
        self,
        entries: Mapping[EntryKey, Entry],
        *,
        namespaces: frozenset[str] | None = None,
        referring: Referring | None = None,
    ) -> None:
        """`namespaces` and `referring` are those of `entries`, if they are known: finding them reads all entries."""
        self._entries = entries
        self._namespaces = namespaces
        self._referring = referring

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "EntrySet":
        """The set of `entries`; of two with the same key the later one counts."""
        return cls({key_of(entry): entry for entry in entries})

    def with_changes(self, puts: Iterable[Entry], deletes: Iterable[EntryKey] = ()) -> "EntrySet":
        """This set after the deletions and then the writes."""
        new: dict[EntryKey, Entry] = {key_of(entry): entry for entry in puts}
        gone = set(deletes) - new.keys()
        after = Overlay(self._entries, new, gone)
        if all(kind != "namespace" for kind, _, _ in (*new, *gone)):
            namespaces = self._namespaces
        elif self._namespaces is None:
            namespaces = None
        else:
            created = {name for kind, _, name in new if kind == "namespace"}
            ended = {name for kind, _, name in gone if kind == "namespace"} - {DEFAULT_NAMESPACE}
            namespaces = (self._namespaces - ended) | created
        return EntrySet(after, namespaces=namespaces, referring=self._referring_after(new, gone))

    def _referring_after(self, new: Mapping[EntryKey, Entry], gone: Iterable[EntryKey]) -> Referring | None:
        known = self._referring
        if known is None:
            return None
        lost: dict[ServiceName, set[EntryKey]] = {}
        won: dict[ServiceName, set[EntryKey]] = {}
        for key in (*new, *gone):
            before, after = _services(self._entries.get(key)), _services(new.get(key))
            for service in before - after:
                lost.setdefault(service, set()).add(key)
            for service in after - before:
                won.setdefault(service, set()).add(key)
        changed = {
            service: (known.get(service, frozenset()) - lost.get(service, set())) | won.get(service, set())
            for service in lost.keys() | won.keys()
        }
        kept = {service: keys for service, keys in changed.items() if keys}
        return Overlay(known, kept, changed.keys() - kept.keys())

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[key] for key in sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: EntryKey) -> Entry | None:
        """The entry under `key`; None if there is none."""
        return self._entries.get(key)

    def resolver(self, service: ServiceName) -> ServiceResolver | None:
        """The service's `service-resolver`; None if it has none."""
        entry = self._entries.get(("service-resolver", service.namespace, service.name))
        return entry if isinstance(entry, ServiceResolver) else None

    def splitter(self, service: ServiceName) -> ServiceSplitter | None:
        """The service's `service-splitter`; None if it has none."""
        entry = self._entries.get(("service-splitter", service.namespace, service.name))
        return entry if isinstance(entry, ServiceSplitter) else None

    def router(self, service: ServiceName) -> ServiceRouter | None:
        """The service's `service-router`; None if it has none."""
        entry = self._entries.get(("service-router", service.namespace, service.name))
        return entry if isinstance(entry, ServiceRouter) else None

    def defaults(self, service: ServiceName) -> ServiceDefaults | None:
        """The service's `service-defaults`; None if it has none."""
        entry = self._entries.get(("service-defaults", service.namespace, service.name))
        return entry if isinstance(entry, ServiceDefaults) else None

    def intentions(self, service: ServiceName) -> ServiceIntentions | None:
        """The `service-intentions` named after the service; None if there are none."""
        entry = self._entries.get(("service-intentions", service.namespace, service.name))
        return entry if isinstance(entry, ServiceIntentions) else None

    def proxy_defaults(self) -> ProxyDefaults | None:
        """The `proxy-defaults` entry; None if there is none."""
        entry = self._entries.get(("proxy-defaults", DEFAULT_NAMESPACE, "global"))
        return entry if isinstance(entry, ProxyDefaults) else None

    def policy(self, service: ServiceName) -> FailoverPolicy | None:
        """The `failover-policy` that holds for the service: its own as a whole, else the one named `global`; None if
        there is neither."""
        for key in (("failover-policy", service.namespace, service.name), GLOBAL_POLICY):
            entry = self._entries.get(key)
            if isinstance(entry, FailoverPolicy):
                return entry
        return None

    @property
    def entries(self) -> Mapping[EntryKey, Entry]:
        """The entries by their keys."""
        return self._entries

    @property
    def referring_keys(self) -> Referring:
        """By service, the keys of the other services' entries that refer to it."""
        if self._referring is None:
            found: dict[ServiceName, set[EntryKey]] = {}
            for key, entry in self._entries.items():
                for each in _services(entry):
                    found.setdefault(each, set()).add(key)
            self._referring = {each: frozenset(keys) for each, keys in found.items()}
        return self._referring

    def referring(self, service: ServiceName) -> list[ServiceName]:
        """The other services with an entry that refers to `service`, in order."""
        found = self.referring_keys.get(service, frozenset())
        return sorted({ServiceName(namespace, name) for _, namespace, name in found})

    def namespaces(self) -> frozenset[str]:
        """The namespaces that exist: `default` and those that were created."""
        if self._namespaces is None:
            created = {each.name for each in self._entries.values() if isinstance(each, Namespace)}
            self._namespaces = frozenset({DEFAULT_NAMESPACE} | created)
        return self._namespaces


def _services(entry: Entry | None) -> set[ServiceName]:
    """The other services that `entry` refers to."""
    if entry is None:
        return set()
    return {service for _, service in references(entry)} - {ServiceName(entry.namespace, entry.name)}


def named_namespaces(entry: Entry) -> Iterator[tuple[str, str]]:
    """The namespaces that `entry` names, each with the path of the block that does, its own too."""
    if isinstance(entry, ServiceIntentions):
        for i, source in enumerate(entry.sources):
            if (namespace := entry.source(source).namespace) != EVERY:
                yield f"Sources[{i}]", namespace
    else:
        for at, service in references(entry):
            yield at, service.namespace


def references(entry: Entry) -> Iterator[tuple[str, ServiceName]]:
    """The services that `entry` refers to, each with the path of the block that does.

    A change of one of them affects the chain of the entry's service (docs/semantics.md, section 1).
    """
    own, name = entry.namespace, entry.name
    if isinstance(entry, ServiceRouter):
        for i, route in enumerate(entry.routes):
            if to := route.destination:
                yield f"Routes[{i}].Destination", ServiceName(to.namespace or own, to.service or name)
    elif isinstance(entry, ServiceSplitter):
        for i, split in enumerate(entry.splits):
            yield f"Splits[{i}]", ServiceName(split.namespace or own, split.service or name)
    elif isinstance(entry, ServiceResolver):
        if redirect := entry.redirect:
            yield "Redirect", ServiceName(redirect.namespace or own, redirect.service or name)
        for key, failover in entry.failover.items():
            at = f'Failover["{key}"]'
            yield at, ServiceName(failover.namespace or own, failover.service or name)
            for i, target in enumerate(failover.targets):
                yield f"{at}.Targets[{i}]", ServiceName(target.namespace or own, target.service or name)
