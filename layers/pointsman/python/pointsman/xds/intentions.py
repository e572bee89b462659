"""Translates intentions into Envoy's RBAC filters, with which a sidecar decides who may call its service.

Envoy's filter has one action and knows no order: it denies what any of its policies matches, or allows nothing else.
So those about whom a narrower intention decides are excluded from the policies of later ones, as in Consul. Callers are
known by the SPIFFE id in their certificate. A filter allows only ids of the mesh's own trust domain; where it denies,
any trust domain is meant, so that nobody passes because of an unusual id.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpFilter
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from pointsman.chain.intentions import Intention, covers, default_of
from pointsman.model.intentions import EVERY, Action, HeaderPermission, HTTPPermission
from pointsman.model.names import ServiceName
from pointsman.xds.pack import packed
from pointsman.xds.route_match import header_matcher, method_matcher

STAT_PREFIX: Final = "connect_authz"
"""What the network filter's counters begin with, as in Consul."""

_ANY_PART: Final = "[^/]+"

_NAMED: Final = "named"
"""The policy for who is named, whatever is asked for. Other policies are called after their source."""

_TOGETHER: Final = 100
"""Names that share an expression."""


def network_rbac(intentions: Sequence[Intention], trust_domain: str) -> list[Filter]:
    """The filter that decides for each connection, to stand before what forwards it; none where all is allowed.

    It sees no requests: who has permissions one by one may not connect.
    """
    whole = [each if not each.permissions else replace(each, permissions=(), otherwise="deny") for each in intentions]
    rules = _rules(whole, trust_domain)
    if rules is None:
        return []
    config = NetworkRbac(stat_prefix=STAT_PREFIX, rules=rules)
    return [Filter(name="envoy.filters.network.rbac", typed_config=packed(config))]


def http_rbac(intentions: Sequence[Intention], trust_domain: str) -> list[HttpFilter]:
    """The filter that decides for each request, to stand before all that looks at it; none where all is allowed.

    Paths are compared as the connection manager hands them on: it has to normalize them.
    """
    rules = _rules(intentions, trust_domain)
    if rules is None:
        return []
    return [HttpFilter(name="envoy.filters.http.rbac", typed_config=packed(HttpRbac(rules=rules)))]


def _rules(intentions: Sequence[Intention], trust_domain: str) -> RBAC | None:
    """The rules that decide as `intentions` do; None where they allow everything."""
    closed = default_of(intentions) == "deny"
    action: Action = "allow" if closed else "deny"
    rules = RBAC(action=RBAC.ALLOW if closed else RBAC.DENY)
    named: list[ServiceName] = []
    others: list[ServiceName] = []
    for each in intentions:
        permissions = _permissions(each, action)
        if permissions and not each.permissions and each.source.name != EVERY:
            named.append(each.source)
        elif permissions:
            principal = _principal(each.source, others, trust_domain, wide=not closed)
            rules.policies[str(each.source)].CopyFrom(Policy(principals=[principal], permissions=permissions))
        if each.permissions or each.otherwise != action:
            # Who is decided the same in any case need not be excluded.
            others.append(each.source)
    if named:
        principals = _identities(named, trust_domain if closed else "")
        rules.policies[_NAMED].CopyFrom(Policy(principals=principals, permissions=[_all([])]))
    return rules if rules.policies or closed else None


# --- who calls ---


def _principal(source: ServiceName, others: Iterable[ServiceName], trust_domain: str, *, wide: bool) -> Principal:
    """Who is of `source`, and of none of `others` inside it."""
    inside = {each for each in others if covers(source, each)} if source.name == EVERY else set()
    inside -= {each for each in inside if each.name != EVERY and ServiceName(each.namespace, EVERY) in inside}
    (principal,) = _identities([source], "" if wide else trust_domain)
    if not inside:
        return principal
    excluded = _identities(inside, trust_domain if wide else "")
    one = excluded[0] if len(excluded) == 1 else Principal(or_ids=Principal.Set(ids=excluded))
    return Principal(and_ids=Principal.Set(ids=[principal, Principal(not_id=one)]))


def _identities(sources: Iterable[ServiceName], trust_domain: str) -> list[Principal]:
    """Who has the SPIFFE id of any of `sources`, in any datacenter; without a `trust_domain` in any of them, and
    anybody for everybody.

    Envoy compares a caller with one expression after another, at some microseconds each. So names of one namespace
    share one.
    """
    found: list[Principal] = []
    for namespace, group in groupby(sorted(sources), key=lambda each: each.namespace):
        names = [each.name for each in group]
        if namespace == EVERY and not trust_domain:
            found.append(Principal(any=True))
            continue
        exact = [name for name in names if name != EVERY]
        found += [_identity(namespace, exact[i : i + _TOGETHER], trust_domain) for i in range(0, len(exact), _TOGETHER)]
        if EVERY in names:
            found.append(_identity(namespace, [EVERY], trust_domain))
    return found


def _identity(namespace: str, names: Sequence[str], trust_domain: str) -> Principal:
    """Who has the SPIFFE id of one of the services `names`."""
    where = trust_domain.replace(".", r"\.") or _ANY_PART
    among, name = (each.replace(EVERY, _ANY_PART) for each in (namespace, "|".join(names)))
    pattern = f"spiffe://{where}/ns/{among}/dc/{_ANY_PART}/svc/{name if len(names) == 1 else f'({name})'}"
    named = StringMatcher(safe_regex=RegexMatcher(regex=pattern))
    return Principal(authenticated=Principal.Authenticated(principal_name=named))


# --- what is asked for ---


def _permissions(intention: Intention, action: Action) -> list[Permission]:
    """What of it has this action: any one of them."""
    found: list[Permission] = []
    others: list[Permission] = []  # what has the other action, and comes first
    for its, run in groupby(intention.permissions, key=lambda each: each.action):
        conditions = [_condition(each.http) for each in run]
        if its == action:
            found.append(_all([_any(conditions), *_but(others)]))
        else:
            others += conditions
    if intention.otherwise == action:
        found.append(_all(_but(others)))
    return found


def _but(others: Sequence[Permission]) -> list[Permission]:
    return [Permission(not_rule=_any(others))] if others else []


def _any(permissions: Sequence[Permission]) -> Permission:
    return permissions[0] if len(permissions) == 1 else Permission(or_rules=Permission.Set(rules=permissions))


def _all(permissions: Sequence[Permission]) -> Permission:
    if not permissions:
        return Permission(any=True)
    return permissions[0] if len(permissions) == 1 else Permission(and_rules=Permission.Set(rules=permissions))


def _condition(http: HTTPPermission) -> Permission:
    parts: list[Permission] = []
    if http.path_exact:
        parts.append(_path(StringMatcher(exact=http.path_exact)))
    elif http.path_prefix:
        parts.append(_path(StringMatcher(prefix=http.path_prefix)))
    elif http.path_regex:
        parts.append(_path(StringMatcher(safe_regex=RegexMatcher(regex=http.path_regex))))
    parts += [Permission(header=_header(each)) for each in http.header]
    if http.methods:
        parts.append(Permission(header=method_matcher(http.methods)))
    return _all(parts)


def _path(text: StringMatcher) -> Permission:
    return Permission(url_path=PathMatcher(path=text))


def _header(header: HeaderPermission) -> HeaderMatcher:
    if header.contains:
        text = StringMatcher(contains=header.contains)
        matcher = HeaderMatcher(name=header.name, string_match=text, invert_match=header.invert)
    else:
        matcher = header_matcher(header)
    if header.ignore_case:
        matcher.string_match.ignore_case = True
    return matcher
