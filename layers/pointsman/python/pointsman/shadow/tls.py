"""What traffic sees of a TLS context: the server name, whose certificates count, and the rest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3.base_pb2 import TransportSocket

from pointsman.shadow.plain import Plain, field, plain, settled, text_of, type_of

_TLS = "envoy.extensions.transport_sockets.tls.v3."
_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
_OWN = ("tls_certificates", "tls_certificate_sds_secret_configs", "tls_certificate_provider_instance")
_WHOM = (
    "validation_context",
    "validation_context_sds_secret_config",
    "combined_validation_context",
    "validation_context_certificate_provider_instance",
)
_CAS = ("trusted_ca", "ca_certificate_provider_instance", "system_root_certs")


@dataclass(frozen=True, slots=True)
class Tls:
    """`names` are the identities of which the other side has to present one, `rest` is everything else that counts.
    `sni` is the cluster's server name, which the hosts' own names replace if `of_hosts`."""

    sni: str
    of_hosts: bool
    names: frozenset[str]
    rest: Plain


NO_TLS = Tls("", False, frozenset(), {})


def read_tls(socket: TransportSocket) -> Tls:
    """The TLS of a transport socket; without one the `rest` is empty."""
    value = plain(socket).get("typed_config", {})
    kind = type_of(value)
    if (not value and not socket.name) or kind == _RAW or socket.name == "envoy.transport_sockets.raw_buffer":
        return NO_TLS
    if not kind.startswith(_TLS):
        return Tls("", False, frozenset(), {"transport_socket": {"kind": kind or socket.name, "settings": value}})
    common = value.get("common_tls_context", {})
    checked = {**_checked(common)}
    names = frozenset(_names(checked))
    for name in ("match_typed_subject_alt_names", "match_subject_alt_names", *_CAS):
        checked.pop(name, None)
    rest: Plain = settled(
        {
            name: each
            for name, each in value.items()
            if name not in ("@type", "sni", "auto_host_sni", "common_tls_context")
        },
        {"disable_stateless_session_resumption": False},
    )
    rest |= settled({name: each for name, each in common.items() if name not in (*_OWN, *_WHOM)}, {})
    rest |= settled(checked, {})
    rest["encrypted"] = True
    # Where certificates come from is the bootstrap's; whether there are any is not.
    rest["presents_a_certificate"] = any(name in common for name in _OWN)
    rest["verifies"] = any(name in common for name in _WHOM) and _verifies(common)
    return Tls(value.get("sni", ""), bool(value.get("auto_host_sni")), names, {"tls": rest})


def _checked(common: Mapping[str, Any]) -> Mapping[str, Any]:
    combined = field(common, "combined_validation_context", "default_validation_context") or {}
    return {**combined, **(common.get("validation_context") or {})}


def _verifies(common: Mapping[str, Any]) -> bool:
    context = _checked(common)
    from_elsewhere = (
        common.get("validation_context_sds_secret_config"),
        common.get("validation_context_certificate_provider_instance"),
        field(common, "combined_validation_context", "validation_context_sds_secret_config"),
        field(common, "combined_validation_context", "validation_context_certificate_provider_instance"),
    )
    return any(name in context for name in _CAS) or any(each is not None for each in from_elsewhere)


def _names(context: Mapping[str, Any]) -> Iterator[str]:
    for each in context.get("match_typed_subject_alt_names", ()):
        text = matcher_text(each.get("matcher", {}))
        kind = each.get("san_type", "")
        yield text if kind == "URI" or "://" in text else f"{kind} {text}"
    for each in context.get("match_subject_alt_names", ()):
        text = matcher_text(each)
        yield text if "://" in text else f"any {text}"


def matcher_text(matcher: Mapping[str, Any]) -> str:
    """A StringMatcher in words: equal texts match the same."""
    folded = " in any capitals" if matcher.get("ignore_case") else ""
    for name, words in (("exact", "{}"), ("prefix", "{}…"), ("suffix", "…{}"), ("contains", "…{}…")):
        if name in matcher:
            return words.format(matcher[name]) + folded
    if "safe_regex" in matcher:
        return f"~{matcher['safe_regex'].get('regex', '')}"
    return text_of(dict(matcher))
