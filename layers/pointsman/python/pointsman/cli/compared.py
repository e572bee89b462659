"""What is wrong with control planes, and what those that stand side by side disagree about."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pointsman.model.canonical import canonical, digest
from pointsman.model.findings import Finding, Severity
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.registration import is_registration, parse_registration

MOST_DIFFERENCES = 50
"""Findings of one check that are named; the others are counted."""

_SHOWN = 12
"""Characters of a digest for people."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the control plane at `url`, or the store of that name, says: its `config` as `GET /v1/config` has it, and so
    on. `proxies` is what `GET /v1/proxies` has, None of a control plane that has no such page; it was `asked` for then
    (seconds since 1970)."""

    url: str
    config: Sequence[Mapping[str, Any]]
    orders: Mapping[str, Any]
    sources: Sequence[Mapping[str, Any]]
    status: Mapping[str, Any]
    proxies: Mapping[str, Any] | None = None
    asked: float = 0.0

    @property
    def documents(self) -> dict[str, str]:
        """The digest of each config entry and registration, by its name for people."""
        return {" ".join(named(each)): digest(canonical(dict(each))) for each in self.config}

    @property
    def digest(self) -> str:
        """One digest for all of the config, whatever its order."""
        return digest(canonical(self.documents))[:_SHOWN]


def named(document: Mapping[str, Any]) -> tuple[str, str]:
    """The kind and the name of a config entry or a registration, as a control plane answers it."""
    if is_registration(document):
        return "registration", parse_registration(document).key
    return document["Kind"], f"{document.get('Namespace') or DEFAULT_NAMESPACE}/{document['Name']}"


def own(seen: Sequence[Seen]) -> Iterator[Finding]:
    """What each found itself in what it is told: warnings, and notes on what may be as it is meant."""
    for each in seen:
        for found in each.status["findings"]:
            where = f"{each.url}: {found['where']}"
            yield Finding(found["what"], Severity(found["severity"]), where, found["says"], found["do"])


def trust_domains(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Control planes of one mesh have one trust domain."""
    cure = "it is fixed by a store's first write; make the store of the wrong one anew, with --trust-domain"
    yield from _differing(
        "trust-domain",
        {each.url: {"the trust domain": str(each.status.get("trust_domain") or "-")} for each in seen},
        cure,
    )


def configs(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Control planes of one mesh have the same config entries and registrations."""
    cure = "write it to all: pointsman apply --url ... FILE; or delete it where it should not be: pointsman delete"
    found = {each.url: {name: each_[:_SHOWN] for name, each_ in each.documents.items()} for each in seen}
    yield from _differing("config", found, cure)


def orders(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Orders in force are in force everywhere: each control plane decides for its own Envoys."""
    cure = "give the order to all, or end it where it should not be: pointsman orders, pointsman end"
    found = {
        each.url: {_subject(order): f"until {order['until']}" for order in each.orders["in_force"]} for each in seen
    }
    yield from _differing("orders", found, cure)


def sources(seen: Sequence[Seen]) -> Iterator[Finding]:
    """Who tells one of health tells all of it, and the same."""
    cure = "have it tell all of them: pointsman agent --to ... --to ...; what is on its way differs for a moment"
    found = {
        each.url: {f"{source['source']} of {source['datacenter']}": _told(source) for source in each.sources}
        for each in seen
    }
    yield from _differing("sources", found, cure)


CHECKS: tuple[Callable[[Sequence[Seen]], Iterator[Finding]], ...] = (own, trust_domains, configs, orders, sources)
"""What is looked at, in the order in which it is shown."""


def examine(seen: Sequence[Seen]) -> list[Finding]:
    """What is wrong with each of them, and what they disagree about."""
    return [finding for check in CHECKS for finding in check(seen)]


def _subject(order: Mapping[str, Any]) -> str:
    parts = [order["verb"], order["service"], order["datacenter"] and f"dc {order['datacenter']}"]
    return " ".join(filter(None, [*parts, order["caller"] and f"callers in {order['caller']}"]))


def _told(source: Mapping[str, Any]) -> str:
    lease = source.get("lease") or {}
    silent = ", silent" if lease.get("silent_since") else ""
    return f"{source['instances']} of {len(source['catalogs'])} services{silent}"


def _differing(check: str, found: Mapping[str, Mapping[str, str]], cure: str) -> Iterator[Finding]:
    """A finding for each thing that is not the same everywhere: `found` has what it is, by URL."""
    names = sorted({name for each in found.values() for name in each})
    differing = [name for name in names if len({each.get(name) for each in found.values()}) > 1]
    for name in differing[:MOST_DIFFERENCES]:
        by_value: dict[str, list[str]] = {}
        for url, each in found.items():
            by_value.setdefault(each.get(name, "missing"), []).append(url)
        what = "; ".join(f"{value} at {', '.join(urls)}" for value, urls in by_value.items())
        yield Finding(check, Severity.WARNING, name, what, cure)
    if (more := len(differing) - MOST_DIFFERENCES) > 0:
        yield Finding(check, Severity.WARNING, f"{more} more", "differ as well", cure)
