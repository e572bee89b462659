"""Writes docs/consul-fields.md and docs/registration-fields.md from the tables by which the decoder decides.

`python -m tests.fields_page` writes both.
"""

from collections.abc import Iterator
from pathlib import Path

from pointsman.model.consul_fields import KINDS_ELSEWHERE, OTHERS, SINCE, SINCE_KIND
from pointsman.model.entries import ProxyDefaults, ServiceDefaults, ServiceResolver
from pointsman.model.intentions import ServiceIntentions
from pointsman.model.registration import Registration
from pointsman.model.router import ServiceRouter
from pointsman.model.shape import Shape, camel, shape_in
from pointsman.model.splitter import ServiceSplitter

DOCS = Path(__file__).parents[1] / "docs"
OF_OURS = "Pointsman's own"

ENTRIES: dict[str, type[Shape]] = {
    "proxy-defaults": ProxyDefaults,
    "service-defaults": ServiceDefaults,
    "service-resolver": ServiceResolver,
    "service-splitter": ServiceSplitter,
    "service-router": ServiceRouter,
    "service-intentions": ServiceIntentions,
}

ABOUT_ENTRIES = """# Every field of Consul's config entries

For those who bring entries from Consul: what becomes of each field. [config.md](config.md) says what the supported ones
do. This page is written by the tables that the decoder itself decides by (`python -m tests.fields_page`), and a test
compares them.

- **supported**: it does what it does in Consul.
- **no effect**: it may be there, and is dropped: it says nothing about traffic.
- **refused**: an entry with it is refused with the reason in the last column. Null, empty and zero values say nothing
  and are dropped, and so are the values named there.

"since" is the version of Consul that brought it, or "by" which it was there. Names may have any capitals, with
underscores or without.
"""

ABOUT_REGISTRATIONS = """# Every field of a registration

For those who bring the registrations of Consul's sidecars and mesh gateways: what becomes of each field.
[config.md](config.md#registrations) says what the supported ones do. This page is written by the tables that the
decoder itself decides by (`python -m tests.fields_page`), and a test compares them.

A registration may come as Consul's catalog takes it (`PUT /v1/catalog/register`, below), as its agent answers it
(`GET /v1/agent/service/ID`, `GET /v1/agent/services`) or takes it (`PUT /v1/agent/service/register`), or as a service
definition in an agent's file, with `connect { sidecar_service { … } }` or with `kind = "connect-proxy"`. Where no
datacenter is named, `pointsman apply --dc` names it.

- **supported**: it does what it does in Consul, or is kept and not used.
- **no effect**: it may be there, and is dropped.
- **refused**: a registration with it is refused with the reason in the last column. Null, empty and zero values say
  nothing and are dropped, and so are the values named there.
"""


def version(text: str) -> tuple[int, ...]:
    """`1.10`, or `by 1.10`, as something that can be compared."""
    return tuple(map(int, text.removeprefix("by ").split(".")))


def rows(shape: type[Shape], before: str, since: str) -> Iterator[tuple[str, str, str, str]]:
    """(field, what becomes of it, since when, why) of all fields of `shape` and of what is in them."""
    name = shape.__name__
    for field, info in shape.model_fields.items():
        written = info.serialization_alias or camel(field)
        ours = written in ("Owner",)
        there = max(since, SINCE.get(name, {}).get(written, since), key=version)
        yield f"{before}{written}", "supported", OF_OURS if ours else there, ""
        suffix, inner = shape_in(info.annotation)
        if inner is not None:
            yield from rows(inner, f"{before}{written}{suffix}.", there)
    for written, other in OTHERS.get(name, {}).items():
        there = max(since, other.since, key=version)
        if not other.refused:
            yield f"{before}{written}", "no effect", there, other.why
            continue
        values = [str(value) for value in other.nothing if not isinstance(value, dict)]
        values += [
            f"{key} {inner}" for value in other.nothing if isinstance(value, dict) for key, inner in value.items()
        ]
        says_nothing = f" (`{'`, `'.join(dict.fromkeys(values))}` is dropped)" if values else ""
        yield f"{before}{written}", "refused", there, f"{other.why}{says_nothing}"


def table(shape: type[Shape]) -> str:
    """The table of one shape."""
    lines = ["| field | here | since | |", "|---|---|---|---|"]
    found = rows(shape, "", SINCE_KIND[shape.__name__])
    lines += [f"| `{field}` | {here} | {since} | {why} |" for field, here, since, why in found]
    return "\n".join(lines)


def entries_page() -> str:
    """docs/consul-fields.md."""
    parts = [ABOUT_ENTRIES]
    parts += [f"## `{kind}`\n\n{table(shape)}\n" for kind, shape in ENTRIES.items()]
    lines = [f"| `{kind}` | {since} | {why} |" for kind, (since, why) in sorted(KINDS_ELSEWHERE.items())]
    parts.append(
        "## Kinds that Pointsman does not have\n\nThey are refused with the reason.\n\n"
        + "\n".join(["| kind | since | |", "|---|---|---|", *lines])
        + "\n\n`failover-policy` and `namespace` ([config.md](config.md)) are Pointsman's own.\n"
    )
    return "\n".join(parts)


def registrations_page() -> str:
    """docs/registration-fields.md."""
    return f"{ABOUT_REGISTRATIONS}\n{table(Registration)}\n"


PAGES = {"consul-fields.md": entries_page, "registration-fields.md": registrations_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
