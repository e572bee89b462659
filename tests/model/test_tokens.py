"""Tokens: who may do what, and what is kept of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pointsman.model import tokens as of_tokens
from pointsman.model.errors import InvalidInput
from pointsman.model.grants import Role
from pointsman.model.stored import Damaged
from pointsman.model.tokens import (
    LONGEST_CERTIFICATE,
    LONGEST_NAME,
    MOST_PATTERNS,
    Token,
    Tokens,
    new_token,
    read_tokens,
    secret_from,
    tokens_json,
    with_token,
    without_token,
)

SECRET = secret_from(bytes(32))


def made(name: str = "host-7", secret: str = SECRET, **more: tuple[str, ...]) -> Token:
    return new_token(name, secret, **{"roles": ("report",), **more}, at="2026-11-27T12:00:00.000Z", by="root@vm")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "datacenter", "source", "refused"),
    [
        ({}, "dc1", "anybody", ""),
        ({"datacenters": ("dc1",)}, "dc1", "anybody", ""),
        ({"datacenters": ("dc1",)}, "dc2", "anybody", "may not tell of dc2, only of dc1"),
        ({"sources": ("agent/host-7",)}, "dc1", "agent/host-7", ""),
        ({"sources": ("agent/host-7",)}, "dc1", "agent/host-77", 'may not speak as "agent/host-77"'),
        ({"sources": ("agent/*", "consul-dc1")}, "dc1", "agent/host-9", ""),
        ({"sources": ("agent/*",)}, "dc1", "agents", 'may not speak as "agents"'),
        ({"sources": ("*",), "datacenters": ("dc1", "dc2")}, "dc2", "anybody", ""),
    ],
)
def test_a_token_may_tell_of_its_datacenters_as_its_sources(
    more: dict[str, tuple[str, ...]], datacenter: str, source: str, refused: str
) -> None:
    found = made(**more).grant.refuses_report(datacenter, source)
    assert refused in found
    assert bool(refused) == bool(found)


def test_a_token_is_known_by_its_secret_alone_and_the_secret_is_not_kept() -> None:
    other = secret_from(bytes([1] * 32))
    all_of_them = with_token(with_token(Tokens(), made()), made("other", other, roles=("read",)))
    assert all_of_them.of(SECRET) == made()
    assert all_of_them.of(other) != made()
    assert [all_of_them.of(wrong) for wrong in ("", "host-7", SECRET[:-1], SECRET + "0", "x" * 1000)] == [None] * 5
    assert SECRET not in str(tokens_json(all_of_them))
    assert read_tokens(tokens_json(all_of_them)) == all_of_them
    assert without_token(all_of_them, "host-7").of(SECRET) is None
    assert (made().grant.has(Role.REPORT), made().grant.has(Role.READ)) == (True, False)


def test_what_is_no_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    many = tuple(f"dc{number}" for number in range(MOST_PATTERNS + 1))
    for name, more, reason in (
        ("", {}, "its name has 1 to"),
        ("x" * (LONGEST_NAME + 1), {}, "its name has 1 to"),
        ("a", {"roles": ()}, "--role: is required: read, report"),
        ("a", {"roles": ("root",)}, "known are read, report"),
        ("a", {"datacenters": ("DC1",)}, '"DC1" is not a lower-case DNS label'),
        ("a", {"datacenters": many}, f"{MOST_PATTERNS} are the most"),
        ("a", {"sources": ("a*b",)}, 'with "\\*" at the end alone'),
        ("a", {"sources": ("x" * (LONGEST_NAME + 1),)}, "is no name"),
        ("a", {"roles": ("read",), "datacenters": ("dc1",)}, "--dc: limits report and register alone"),
        ("a", {"services": ("web",)}, "--service: limits register alone"),
        ("a", {"roles": ("configure", "register"), "services": ("web",)}, "nothing limits configure"),
        ("a", {"certificate": "x" * (LONGEST_CERTIFICATE + 1)}, "--certificate: .* is no name"),
    ):
        with pytest.raises(InvalidInput, match=reason):
            made(name, **more)
    monkeypatch.setattr(of_tokens, "MOST_TOKENS", 1)
    one = with_token(Tokens(), made())
    with pytest.raises(InvalidInput, match="there is one of that name"):
        with_token(one, made())
    with pytest.raises(InvalidInput, match="there are 1 already"):
        with_token(one, made("other"))
    with pytest.raises(InvalidInput, match="there is none of that name"):
        without_token(one, "other")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_is_damaged_is_no_token(found: object) -> None:
    body = tokens_json(with_token(Tokens(), made()))
    with pytest.raises(Damaged):
        read_tokens({**body, "tokens": {"host-7": found}})


def test_a_token_of_before_there_were_services_and_certificates_is_still_read() -> None:
    body = tokens_json(with_token(Tokens(), made()))
    before = {name: each for name, each in body["tokens"]["host-7"].items() if name not in ("services", "certificate")}
    assert read_tokens({**body, "tokens": {"host-7": before}}).of(SECRET) == made()
