"""Envoy's filters for intentions mean what the intentions say."""

import re
from itertools import product
from typing import Any

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Principal
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pointsman.chain.entryset import EntrySet
from pointsman.chain.intentions import Intention, applying, deciding
from pointsman.model.entries import parse_entry
from pointsman.model.names import ServiceName
from pointsman.xds.intentions import http_rbac, network_rbac

from tests.share import share_of
from tests.xds.intention_rule import CALLERS, JSON, REQUESTS, WEB, Name, Request, entries, may_call
from tests.xds.route_entries import TRUST_DOMAIN

often = settings(max_examples=share_of(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def applied(raw: list[JSON]) -> tuple[Intention, ...]:
    """What applies to WEB."""
    return applying(EntrySet.of(map(parse_entry, raw)), ServiceName(*WEB))


def rules(raw: list[JSON], *, http: bool) -> RBAC | None:
    """The rules of the filter for WEB; None if there is none."""
    intentions = applied(raw)
    filters: list[Any] = http_rbac(intentions, TRUST_DOMAIN) if http else network_rbac(intentions, TRUST_DOMAIN)
    if not filters:
        return None
    config = HttpRbac() if http else NetworkRbac()
    assert filters[0].typed_config.Unpack(config)
    assert config.HasField("rules")
    return config.rules


def spiffe_id(caller: Name, datacenter: str = "dc7", trust_domain: str = TRUST_DOMAIN) -> str:
    return f"spiffe://{trust_domain}/ns/{caller[0]}/dc/{datacenter}/svc/{caller[1]}"


# --- what Envoy makes of a filter ---


def lets_in(found: RBAC | None, identity: str, request: Request) -> bool:
    """Whether Envoy, with these rules, lets `identity` send `request`."""
    if found is None:
        return True
    matched = any(
        any(is_caller(each, identity) for each in policy.principals)
        and any(is_asked(each, request) for each in policy.permissions)
        for policy in found.policies.values()
    )
    return matched == (found.action == RBAC.ALLOW)


def is_caller(principal: Principal, identity: str) -> bool:
    match principal.WhichOneof("identifier"):
        case "any":
            return True
        case "and_ids":
            return all(is_caller(each, identity) for each in principal.and_ids.ids)
        case "or_ids":
            return any(is_caller(each, identity) for each in principal.or_ids.ids)
        case "not_id":
            return not is_caller(principal.not_id, identity)
        case "authenticated":
            return is_text(principal.authenticated.principal_name, identity)
        case other:
            raise AssertionError(other)


def is_asked(permission: Permission, request: Request) -> bool:
    match permission.WhichOneof("rule"):
        case "any":
            return True
        case "and_rules":
            return all(is_asked(each, request) for each in permission.and_rules.rules)
        case "or_rules":
            return any(is_asked(each, request) for each in permission.or_rules.rules)
        case "not_rule":
            return not is_asked(permission.not_rule, request)
        case "url_path":
            return is_text(permission.url_path.path, request.path.partition("?")[0])
        case "header":
            return is_header(permission.header, {":method": request.method, **dict(request.headers)})
        case other:
            raise AssertionError(other)


def is_header(matcher: HeaderMatcher, headers: dict[str, str]) -> bool:
    value = headers.get(matcher.name)
    if matcher.WhichOneof("header_match_specifier") == "present_match":
        return (value is not None) != matcher.invert_match
    return value is not None and is_text(matcher.string_match, value) != matcher.invert_match


def is_text(matcher: StringMatcher, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return re.fullmatch(matcher.safe_regex.regex, text) is not None
    wanted: str = getattr(matcher, kind or "")
    if matcher.ignore_case:
        wanted, text = wanted.lower(), text.lower()
    return bool(
        {"exact": text == wanted, "prefix": text.startswith(wanted), "suffix": text.endswith(wanted)}.get(
            kind or "", wanted in text
        )
    )


@often
@given(entries())
def test_a_filter_for_requests_decides_as_the_rule_says(raw: list[JSON]) -> None:
    found = rules(raw, http=True)

    for caller in CALLERS:
        for request in REQUESTS:
            assert lets_in(found, spiffe_id(caller), request) == may_call(raw, caller, request), (caller, request)


@often
@given(entries())
def test_a_filter_for_connections_decides_as_the_rule_says(raw: list[JSON]) -> None:
    found = rules(raw, http=False)

    for caller in CALLERS:
        assert lets_in(found, spiffe_id(caller), Request()) == may_call(raw, caller, None), caller


@often
@given(entries(), st.randoms(use_true_random=False))
def test_the_order_in_which_entries_and_sources_are_written_changes_nothing(raw: list[JSON], random: Any) -> None:
    other = [{**each, "Sources": random.sample(each["Sources"], len(each["Sources"]))} for each in raw[::-1]]

    assert applied(other) == applied(raw)
    assert http_rbac(applied(other), TRUST_DOMAIN) == http_rbac(applied(raw), TRUST_DOMAIN)


@often
@given(entries())
def test_the_intention_that_decides_decides_as_the_rule_says(raw: list[JSON]) -> None:
    found = applied(raw)

    for caller in CALLERS:
        one = deciding(found, ServiceName(*caller))
        if one is None or not one.permissions:
            assert (one is None or one.otherwise == "allow") == may_call(raw, caller, REQUESTS[0]), caller


DENY_ALL: list[JSON] = [{"Kind": "service-intentions", "Name": "*", "Namespace": "*"}]
DENY_ALL[0]["Sources"] = [{"Name": "*", "Namespace": "*", "Action": "deny"}]


def intentions(*sources: JSON) -> JSON:
    return {"Kind": "service-intentions", "Name": "web", "Sources": list(sources)}


def test_who_has_an_unusual_id_passes_nowhere_because_of_it() -> None:
    deny = intentions({"Name": "*", "Action": "deny"}, {"Name": "api", "Action": "allow"})
    allow = [*DENY_ALL, intentions({"Name": "*", "Action": "allow"}, {"Name": "db", "Action": "deny"})]
    strange = [spiffe_id(("default", "api"), trust_domain="elsewhere"), "spiffe://td/job/7", "", "api"]

    for identity in strange:
        assert not lets_in(rules(DENY_ALL, http=False), identity, Request())
        assert not lets_in(rules(allow, http=False), identity, Request())
    assert not lets_in(rules([deny], http=False), strange[0], Request())
    assert lets_in(rules([deny], http=False), spiffe_id(("default", "api"), "dc9"), Request())
    for near in ("api2", "ap"):
        assert not lets_in(rules([deny], http=False), spiffe_id(("default", near)), Request())
    alone = rules([*DENY_ALL, intentions({"Name": "api", "Action": "allow"})], http=False)
    for near in ("api2", "ap", "x/svc/api", "api/svc/api"):
        assert not lets_in(alone, spiffe_id(("default", near)), Request())


def test_there_is_no_filter_where_all_is_allowed_and_an_empty_one_where_all_is_denied() -> None:
    assert rules([], http=True) is None
    assert rules([intentions({"Name": "*", "Action": "allow"})], http=True) is None
    everything = rules(DENY_ALL, http=True)
    assert everything is not None
    assert (everything.action, len(everything.policies)) == (RBAC.ALLOW, 0)


def test_a_filter_names_its_policies_after_who_calls_and_excludes_nobody_for_whom_it_decides_the_same() -> None:
    both = intentions({"Name": "*", "Action": "allow"}, {"Name": "api", "Action": "allow"})
    found = rules([*DENY_ALL, both], http=True)

    assert found is not None
    assert sorted(found.policies) == ["default/*", "named"]
    assert [each.WhichOneof("identifier") for each in found.policies["default/*"].principals] == ["authenticated"]


@pytest.mark.parametrize("rest", [pytest.param(DENY_ALL, id="all others denied"), pytest.param([], id="all allowed")])
def test_many_callers_share_few_expressions(rest: list[JSON]) -> None:
    action = "allow" if rest else "deny"
    places = [{"Namespace": each} for each in ("default", "team")]
    raw = [*rest, intentions(*({"Name": f"c{n}", "Action": action, **at} for n in range(250) for at in places))]
    found = rules(raw, http=True)

    assert found is not None
    assert len(found.policies["named"].principals) == 6
    for namespace, name in product(("default", "team", "other"), ("c0", "c99", "c100", "c249", "c250", "c", "c0|c1")):
        known = namespace != "other" and name in ("c0", "c99", "c100", "c249")
        assert lets_in(found, spiffe_id((namespace, name)), Request()) == (known == bool(rest)), (namespace, name)
    exceptions = [{"Name": f"c{n}", "Action": "deny" if rest else "allow"} for n in range(250)]
    found = rules([*rest, intentions({"Name": "*", "Action": action}, *exceptions)], http=True)
    assert found is not None
    (principal,) = found.policies["default/*"].principals
    assert len(principal.and_ids.ids[1].not_id.or_ids.ids) == 3
    assert lets_in(found, spiffe_id(("default", "c249")), Request()) == (not rest)
    assert lets_in(found, spiffe_id(("default", "c250")), Request()) == bool(rest)
