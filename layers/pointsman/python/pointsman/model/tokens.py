"""Tokens: who may speak to `pointsman up` from other machines, and what they may do.

A client shows that it has a token by sending it, or by the client certificate whose name the token has. Only the digest
of a token is kept: who reads the store cannot use it. A token is 256 random bits, so a plain digest is enough; nobody
can try them all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput
from pointsman.model.grants import Grant, Role
from pointsman.model.names import is_label
from pointsman.model.stored import Body, Damaged, Kind, check_kind, mapping, tagged, text, texts

MOST_TOKENS: Final = 1_000
"""Tokens of one store."""

MOST_PATTERNS: Final = 100
"""Datacenters, sources, and services that one token names."""

LONGEST_NAME: Final = 128
"""Characters of a token's name, of a source or service in it, and of what a client may send as a token."""

LONGEST_CERTIFICATE: Final = 2_048
"""Characters of the name of a certificate: as many as a SPIFFE id has at most."""

LIMITED: Final = {
    "--dc": frozenset({Role.REPORT, Role.REGISTER}),
    "--source": frozenset({Role.REPORT}),
    "--service": frozenset({Role.REGISTER}),
}
"""The roles that each option of a token limits."""

_PREFIX: Final = "pm-"


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token, and what whoever has it may do.

    It was made `at` (RFC 3339), by whom `by` says. Who shows a certificate of the name `certificate` has it; then it
    has no secret, and its `digest` is "".
    """

    grant: Grant
    digest: str
    at: str
    by: str
    certificate: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.grant.name


@dataclass(frozen=True, slots=True)
class Tokens:
    """All tokens of a store, by name."""

    by_name: Mapping[str, Token] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Token]:
        """The tokens, by name."""
        return iter(sorted(self.by_name.values(), key=lambda each: each.name))

    def of(self, secret: str) -> Token | None:
        """The token with this secret, None if there is none."""
        if len(secret) > LONGEST_NAME:
            return None
        digest = digest_of(secret)
        found = None
        for each in self.by_name.values():
            if compare_digest(each.digest, digest):
                found = each
        return found

    def of_certificate(self, names: Iterable[str]) -> Token | None:
        """The token of who shows a certificate that stands for `names`, by the first of them that has one."""
        by_certificate = {each.certificate: each for each in self.by_name.values() if each.certificate}
        return next((by_certificate[name] for name in names if name in by_certificate), None)


def secret_from(random: bytes) -> str:
    """The text of a token, from 32 random bytes."""
    return _PREFIX + random.hex()


def digest_of(secret: str) -> str:
    """What is kept of a token."""
    return sha256(secret.encode(errors="backslashreplace")).hexdigest()


def new_token(
    name: str,
    secret: str,
    *,
    roles: Iterable[str],
    datacenters: Iterable[str] = (),
    sources: Iterable[str] = (),
    services: Iterable[str] = (),
    at: str,
    by: str,
    certificate: str = "",
) -> Token:
    """A token, checked, with a `secret` or the name of a `certificate`. Raises InvalidInput."""
    thing = f'token "{name[:80]}"'
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput.single(thing, "", f"its name has 1 to {LONGEST_NAME} characters that can be printed")
    try:
        wanted = frozenset(map(Role, roles))
    except ValueError as error:
        raise InvalidInput.single(thing, "--role", f"{error}; known are {', '.join(Role)}") from None
    if not wanted:
        raise InvalidInput.single(thing, "--role", f"is required: {', '.join(Role)}")
    limits = {
        "--dc": tuple(sorted(set(datacenters))),
        "--source": tuple(sorted(set(sources))),
        "--service": tuple(sorted(set(services))),
    }
    for option, values in limits.items():
        if len(values) > MOST_PATTERNS:
            raise InvalidInput.single(thing, option, f"names {len(values)}; {MOST_PATTERNS} are the most")
        if values and not _limited(wanted, option):
            which = " and ".join(role for role in Role if role in LIMITED[option])
            reason = f"limits {which} alone, and nothing limits configure; leave it out, or make two tokens"
            raise InvalidInput.single(thing, option, reason)
    for each in limits["--dc"]:
        if not is_label(each):
            raise InvalidInput.single(thing, "--dc", f"{shown(each)} is not a lower-case DNS label")
    for option in ("--source", "--service"):
        for each in limits[option]:
            if not each or len(each) > LONGEST_NAME or "*" in each[:-1]:
                reason = f'{shown(each)} is no name: 1 to {LONGEST_NAME} characters, with "*" at the end alone'
                raise InvalidInput.single(thing, option, reason)
    if len(certificate) > LONGEST_CERTIFICATE or not certificate.isascii() or not certificate.isprintable():
        reason = f"{shown(certificate)} is no name: up to {LONGEST_CERTIFICATE} characters of ASCII"
        raise InvalidInput.single(thing, "--certificate", reason)
    digest = "" if certificate else digest_of(secret)
    return Token(_grant(name, wanted, *limits.values()), digest, at, by, certificate)


def _limited(roles: frozenset[Role], option: str) -> frozenset[Role]:
    """Those of `roles` that this option of a token limits."""
    return (roles & LIMITED[option]) - ({Role.REGISTER} if Role.CONFIGURE in roles else frozenset())


def _grant(
    name: str,
    roles: frozenset[Role],
    datacenters: tuple[str, ...],
    sources: tuple[str, ...],
    services: tuple[str, ...],
) -> Grant:
    return Grant(roles, f'the token "{name}"', name, datacenters, sources, services)


def with_token(tokens: Tokens, token: Token) -> Tokens:
    """`tokens` with a new one. Raises InvalidInput if its name, or its certificate, is taken, or there are
    MOST_TOKENS."""
    if token.name in tokens.by_name:
        reason = "there is one of that name; revoke it first, or choose another name"
        raise InvalidInput.single(f'token "{token.name}"', "", reason)
    if token.certificate and (other := tokens.of_certificate([token.certificate])) is not None:
        reason = f'the token "{other.name}" has that certificate already; revoke it first'
        raise InvalidInput.single(f'token "{token.name}"', "--certificate", reason)
    if len(tokens.by_name) >= MOST_TOKENS:
        raise InvalidInput.single(f'token "{token.name}"', "", f"there are {MOST_TOKENS} already; revoke some first")
    return Tokens({**tokens.by_name, token.name: token})


def without_token(tokens: Tokens, name: str) -> Tokens:
    """`tokens` without that of this name. Raises InvalidInput if there is none."""
    if name not in tokens.by_name:
        raise InvalidInput.single(f'token "{name[:80]}"', "", "there is none of that name; see `pointsman token list`")
    return Tokens({known: each for known, each in tokens.by_name.items() if known != name})


def token_json(token: Token) -> Body:
    """What people may see of a token, as plain JSON values."""
    return {
        "name": token.name,
        "certificate": token.certificate,
        "roles": sorted(each.value for each in token.grant.roles),
        "datacenters": list(token.grant.datacenters),
        "sources": list(token.grant.sources),
        "services": list(token.grant.services),
        "at": token.at,
        "by": token.by,
    }


def tokens_json(tokens: Tokens) -> Body:
    """`tokens` as plain JSON values; `read_tokens` is its inverse."""
    found = {each.name: token_json(each) | {"digest": each.digest} for each in tokens}
    return tagged(Kind.TOKENS, {"tokens": found})


def read_tokens(body: object) -> Tokens:
    """The tokens that `tokens_json` wrote. Raises Damaged or NewerSchema for anything else."""
    found = mapping(check_kind(body, Kind.TOKENS), "tokens")
    return Tokens({name: _read_token(name, mapping(found, name)) for name in found})


def _read_token(name: str, body: Body) -> Token:
    try:
        roles = frozenset(map(Role, texts(body, "roles")))
    except ValueError as error:
        raise Damaged(f"one of its roles: {error}") from None
    # Tokens had neither once.
    services = texts(body, "services") if "services" in body else ()
    certificate = text(body, "certificate") if "certificate" in body else ""
    grant = _grant(name, roles, texts(body, "datacenters"), texts(body, "sources"), services)
    return Token(grant, text(body, "digest"), text(body, "at"), text(body, "by"), certificate)
