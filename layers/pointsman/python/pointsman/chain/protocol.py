"""The protocol that a service speaks, by its entries (docs/semantics.md, section 2)."""

from pointsman.chain.complaints import PROXY_DEFAULTS, Place, Spoken
from pointsman.chain.entryset import EntrySet
from pointsman.model.entries import key_of
from pointsman.model.names import ServiceName


def spoken_by(entries: EntrySet, service: ServiceName, place: Place | None = None) -> Spoken:
    """The protocol of `service`, in lower case, and the entry that decides it; `place` is what led to the service."""
    protocol, source = "", None
    if defaults := entries.defaults(service):
        protocol, source = defaults.protocol, key_of(defaults)
    elif proxy_defaults := entries.proxy_defaults():
        protocol, source = proxy_defaults.protocol, PROXY_DEFAULTS
    return Spoken(service, (protocol or "tcp").lower(), source, bool(protocol), place)
