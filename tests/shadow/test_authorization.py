"""Who may call is compared by what is decided: Consul's way to say it and Pointsman's are the same where they allow the
same, and where one lets in somebody whom the other does not, that caller is named."""

from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from pointsman.shadow import authorization
from pointsman.shadow.authorization import (
    EVERYTHING,
    MOST_CALLERS,
    MOST_CONDITIONS,
    NOTHING,
    Differing,
    Rules,
    differing,
)

from tests.share import share_of
from tests.xds.intention_rule import CALLERS, JSON, REQUESTS, entries, may_call
from tests.xds.route_entries import TRUST_DOMAIN
from tests.xds.test_intentions import rules


def ours(raw: list[JSON], *, http: bool = True) -> Rules:
    found = rules(raw, http=http)
    return () if found is None else (MessageToDict(found, preserving_proto_field_name=True),)


def intentions(*sources: JSON) -> list[JSON]:
    return [{"Kind": "service-intentions", "Name": "web", "Sources": list(sources)}]


DENY_ALL: list[JSON] = [
    {
        "Kind": "service-intentions",
        "Name": "*",
        "Namespace": "*",
        "Sources": [{"Name": "*", "Namespace": "*", "Action": "deny"}],
    }
]


def regex(pattern: str) -> JSON:
    return {"authenticated": {"principal_name": {"safe_regex": {"google_re2": {}, "regex": pattern}}}}


def one(name: str, trust_domain: str = TRUST_DOMAIN) -> JSON:
    return regex(f"^spiffe://{trust_domain}/ns/default/dc/[^/]+/svc/{name}$")


def path(**text: str) -> JSON:
    return {"url_path": {"path": text}}


def consul(action: str, *policies: tuple[list[JSON], list[JSON]]) -> Rules:
    named = {
        f"consul-intentions-{number}": {"principals": principals, "permissions": permissions}
        for number, (principals, permissions) in enumerate(policies)
    }
    return ({"action": action, "policies": named},)


ANY = [{"any": True}]


def test_allowing_some_is_the_same_in_one_policy_or_in_several() -> None:
    both = consul("ALLOW", ([one("api"), one("db")], ANY))
    raw = [*intentions({"Name": "api", "Action": "allow"}, {"Name": "db", "Action": "allow"}), *DENY_ALL]
    assert differing(both, ours(raw), TRUST_DOMAIN) == []
    assert differing(both, ours([*intentions({"Name": "api", "Action": "allow"}), *DENY_ALL]), TRUST_DOMAIN) == [
        Differing(("default/db",), EVERYTHING, NOTHING)
    ]
    assert differing(both, (), TRUST_DOMAIN) == [
        Differing(("any other/any other", "any other/api", "any other/db", "default/any other"), NOTHING, EVERYTHING)
    ]


def test_denying_with_exceptions_is_compared_caller_by_caller() -> None:
    others = {
        "and_ids": {"ids": [regex("^spiffe://[^/]+/ns/default/dc/[^/]+/svc/[^/]+$"), {"not_id": one("api", "[^/]+")}]}
    }
    raw = intentions({"Name": "api", "Action": "allow"}, {"Name": "*", "Action": "deny"})
    assert differing(consul("DENY", ([others], ANY)), ours(raw, http=False), TRUST_DOMAIN) == []
    assert differing((), ours(raw, http=False), TRUST_DOMAIN) == [
        Differing(("default/any other",), EVERYTHING, NOTHING)
    ]


def test_permissions_are_compared_as_functions_of_their_conditions() -> None:
    secret, admin, all_of_it = path(exact="/v1/secret"), path(exact="/v1/admin"), path(prefix="/")
    permitted = [
        {"and_rules": {"rules": [all_of_it, {"not_rule": admin}, {"not_rule": secret}]}},
    ]
    raw = [
        *intentions(
            {
                "Name": "api",
                "Permissions": [
                    {"Action": "deny", "HTTP": {"PathExact": "/v1/secret"}},
                    {"Action": "deny", "HTTP": {"PathExact": "/v1/admin"}},
                    {"Action": "allow", "HTTP": {"PathPrefix": "/"}},
                ],
            }
        ),
        *DENY_ALL,
    ]
    assert differing(consul("ALLOW", ([one("api")], permitted)), ours(raw), TRUST_DOMAIN) == []
    permitted[0]["and_rules"]["rules"].pop()
    (found,) = differing(consul("ALLOW", ([one("api")], permitted)), ours(raw), TRUST_DOMAIN)
    assert found.callers == ("default/api",)
    assert found.today == "(not path /v1/admin and path /…)"


@pytest.mark.parametrize(
    "principals",
    [[{"source_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}], [{}], [regex("(")], [one("a"), one("b")]],
    ids=["by address", "by nothing", "no expression", "too many"],
)
def test_what_is_not_understood_is_compared_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, principals: list[JSON]
) -> None:
    monkeypatch.setattr(authorization, "MOST_CALLERS", min(MOST_CALLERS, 5))
    here = consul("ALLOW", (principals, ANY))
    other = consul("ALLOW", ([*principals], [{"any": False}]))
    assert differing(here, consul("ALLOW", ([*reversed(principals)], ANY)), TRUST_DOMAIN) == []
    assert [each.callers for each in differing(here, other, TRUST_DOMAIN)] == [("callers",)]


def test_more_conditions_than_are_compared_as_functions_are_compared_as_they_are_written() -> None:
    def allowing(count: int, first: str = "a") -> Rules:
        return consul("ALLOW", ([one("api")], [path(exact=f"/{first}{number}") for number in range(count)]))

    most = MOST_CONDITIONS
    assert differing(allowing(most), allowing(most), TRUST_DOMAIN) == []
    assert [each.callers for each in differing(allowing(most), allowing(most - 1), TRUST_DOMAIN)] == [("default/api",)]
    more = differing(allowing(most), allowing(most, "b"), TRUST_DOMAIN)
    assert [each.callers for each in more] == [("callers",)]


def decisions(raw: list[JSON], *, http: bool) -> dict[Any, bool]:
    asked = REQUESTS if http else [None]
    return {(caller, number): may_call(raw, caller, each) for caller in CALLERS for number, each in enumerate(asked)}


@given(one_side=entries(), other=entries())
@settings(max_examples=share_of(20), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_sets_of_intentions_differ_if_they_decide_differently(one_side: list[JSON], other: list[JSON]) -> None:
    assert differing(ours(one_side), ours(list(reversed(one_side))), TRUST_DOMAIN) == []
    for http in (True, False):
        found = differing(ours(one_side, http=http), ours(other, http=http), TRUST_DOMAIN)
        same = decisions(one_side, http=http) == decisions(other, http=http)
        assert same or found
