"""What `pointsman doctor` says of sidecars that are registered to call a service that does not let them in."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pointsman.cli.checks import MOST_NAMED
from pointsman.model.findings import Finding, Severity
from pointsman.model.intentions import ServiceIntentions
from pointsman.model.registration import is_registration, parse_registration


def denied(where: str, documents: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Of the config at `where`, as `GET /v1/config` has it: the upstreams of sidecars at whose services an intention
    denies everything to the caller. MOST_NAMED at most; the others are counted."""
    # Imported here, because few look at more than documents.
    from pointsman.chain.complaints import shown, thing
    from pointsman.chain.entryset import EntrySet
    from pointsman.chain.graph import ChainError
    from pointsman.chain.intentions import applying, deciding
    from pointsman.chain.upstream import upstream_chain
    from pointsman.model.entries import parse_entry

    registrations = [each for each in documents if is_registration(each)]
    entries = EntrySet.of(parse_entry(each) for each in documents if not is_registration(each))
    if not any(isinstance(each, ServiceIntentions) for each in entries):
        return
    found: dict[tuple[str, str], str] = {}
    for registration in map(parse_registration, registrations):
        for upstream in registration.service.proxy.upstreams:
            try:
                targets = upstream_chain(entries, registration, upstream).targets.values()
            except ChainError:
                continue  # it has no cluster, and nobody is called
            for service in {each.target.name for each in targets}:
                one = deciding(applying(entries, service), registration.destination)
                if one and one.otherwise == "deny" and not one.permissions:
                    found[shown(registration.destination), shown(service)] = thing(one.entry)
    for (caller, called), entry in sorted(found.items())[:MOST_NAMED]:
        do = f"allow it in service-intentions {called}, or take it out of the upstreams of {caller}"
        yield Finding("intention", Severity.NOTE, f"{where}: {caller} calls {called}", f"{entry} denies it", do)
    if len(found) > MOST_NAMED:
        says = f"{len(found) - MOST_NAMED} more calls are denied"
        yield Finding("intention", Severity.NOTE, where, says, "`pointsman explain SERVICE --from CALLER` says by what")
