"""The schemas of what goes over the API, written by hand: JSON Schema 2020-12, as in OpenAPI 3.1.

Answers may get further fields; who reads them passes over what they do not know.
"""

from typing import Any, Final

from pointsman.model.cause import CauseKind
from pointsman.model.entries import KINDS
from pointsman.model.events import DETAIL_TYPES, MAX_NUMBER
from pointsman.model.orders import LONGEST_REASON, Verb
from pointsman.model.seen import State

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
TRUTH: Final[Schema] = {"type": "boolean"}
MOMENT: Final[Schema] = {"type": "string", "description": 'RFC 3339 in UTC, "" if it does not apply.'}
NAME: Final[Schema] = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}
GENERATION: Final[Schema] = {"type": "string", "pattern": "^[0-9]{1,18}$"}
SWITCH: Final[Schema] = {"type": "string", "enum": ["1", "0", "true", "false"]}
"""Values of a switch in a URL."""


def named(name: str) -> Schema:
    """A reference to the schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(of: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": of}


def both(of: Schema) -> Schema:
    """It, or null."""
    return {"anyOf": [of, {"type": "null"}]}


def thing(description: str, may: Schema | None = None, **fields: Schema) -> Schema:
    """An object that has all `fields` and may have those of `may`."""
    return {
        "type": "object",
        "description": description,
        "required": list(fields),
        "properties": fields | (may or {}),
    }


_DECISION: Final = {"type": "string", "enum": ["allowed", "denied", "by request"]}
_SUBJECT: Final = {
    "verb": {"type": "string", "enum": list(Verb)},
    "datacenter": {**TEXT, "description": 'The one that is drained, or to which a pin leads; "" for a freeze.'},
    "service": {**both(TEXT), "description": "As `namespace/name`; null for all of them."},
    "caller": {**TEXT, "description": 'A pin counts for callers in this datacenter; "" for all.'},
}
_ORDER: Final = {
    "id": TEXT,
    **_SUBJECT,
    "at": MOMENT,
    "until": MOMENT,
    "reason": TEXT,
    "by": TEXT,
    "forced": TRUTH,
    "frozen": TEXT,
    "revision": WHOLE,
}
_STAMP: Final = thing("A place in what a source says.", epoch={"type": "integer"}, index={"type": "integer"})
_MOVED: Final = {**many(TEXT), "description": "The snapshots that moved, each with its version."}
_FAILED: Final = {**many(TEXT), "description": "Clusters that cannot be computed and stay unchanged, and why."}
_LEASE: Final = {
    "source": TEXT,
    "datacenter": TEXT,
    "lease_ms": WHOLE,
    "epoch": {"type": "integer"},
    "index": {"type": "integer"},
    "at": MOMENT,
    "catalogs": both(WHOLE),
    "silent_since": MOMENT,
}
_TROUBLE: Final = thing(
    "What was wrong with what a source sent within the last day.",
    source=TEXT,
    datacenter=TEXT,
    what=TEXT,
    words=TEXT,
    first=MOMENT,
    last=MOMENT,
)
_SOURCE: Final = {
    "source": TEXT,
    "datacenter": TEXT,
    "instances": WHOLE,
    "catalogs": {"type": "object", "additionalProperties": WHOLE},
    "lease": both(thing("Its lease, and when it was last heard.", **_LEASE)),
    "troubles": many(_TROUBLE),
}
_CAUSE: Final = thing(
    "What caused it.",
    kind={"type": "string", "enum": [each.value for each in CauseKind]},
    id={**TEXT, "description": "The event's, the generation's, the order's or the name of the source."},
    text=TEXT,
)
_WHAT: Final = {"type": "string", "enum": ["new", "changed", "gone"]}
_CHANGES: Final = thing("What became of an entry or a registration.", thing=TEXT, what=_WHAT)
_CHANGED: Final = thing(
    "A document that differs; null where there is none.",
    thing=TEXT,
    what=_WHAT,
    before=both({"type": "object"}),
    after=both({"type": "object"}),
)
_DOCUMENT: Final = {"type": "object", "description": "A config entry, or a registration (docs/config.md)."}

_EFFECT: Final = {
    "service": TEXT,
    "namespace": TEXT,
    "datacenter": TEXT,
    "cluster": TEXT,
    "before": TEXT,
    "after": TEXT,
    "weight_before": WHOLE,
    "weight_after": WHOLE,
    "nowhere": {**TEXT, "description": 'Why its traffic would have nowhere to go, "" if it has.'},
    "was_nowhere": TRUTH,
    "objection": {**TEXT, "description": 'Why the order is not to be given, "" if there is no reason.'},
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Any": {"type": "object"},
    "Error": thing(
        "Why a request is refused or failed. Nothing was changed, unless it failed with a 5xx: then send it again.",
        {
            "problems": {**many(TEXT), "description": "Everything that is wrong with what was sent."},
            "effects": {**many(named("Effect")), "description": "What the refused order would have done."},
        },
        error=TEXT,
    ),
    "Event": {
        "description": "A health event (docs/events.md), bare or in an envelope, or an event of docs/sources.md.",
        "anyOf": [
            {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail-type": {"type": "string", "examples": list(DETAIL_TYPES)},
                    "id": TEXT,
                    "time": TEXT,
                    "detail": {"type": "object"},
                },
            },
            {
                "type": "object",
                "required": ["Source", "Index", "Datacenter"],
                "properties": {
                    "Source": TEXT,
                    "Epoch": {"type": "integer", "minimum": -MAX_NUMBER - 1, "maximum": MAX_NUMBER},
                    "Index": {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER},
                    "Datacenter": NAME,
                    "Service": NAME,
                    "Namespace": NAME,
                    "Lease": TEXT,
                    "Instances": many({"type": "object"}),
                    "Instance": {"type": "object"},
                    "Removed": {"type": "object"},
                },
            },
        ],
    },
    "Watched": {
        **many({"type": "object"}),
        "description": "What a watch of a service, or of checks, got from Consul.",
    },
    "Taken": thing(
        "What an event did (docs/events.md).",
        revision=both(WHOLE),
        new=TRUTH,
        changed=TRUTH,
        moved=_MOVED,
        refused=many(thing("An instance that was left out.", index=WHOLE, node=TEXT, id=TEXT, field=TEXT, reason=TEXT)),
        stale=many(
            thing(
                "What has no effect, because its source said something else that outranks it.",
                source=TEXT,
                sent=_STAMP,
                known=both(_STAMP),
                heard_from=both(_STAMP),
                forgotten=both(WHOLE),
                count=WHOLE,
                instances=many(thing("An instance.", node=TEXT, id=TEXT)),
            )
        ),
        warnings=many(TEXT),
        ignored=many(TEXT),
        store={**TEXT, "description": "Which store took it in, and its epoch; to another one, state everything again."},
    ),
    "Entry": thing("A config entry, in Consul's shape.", Kind={"type": "string", "enum": list(KINDS)}),
    "Registration": thing(
        "The registration of a sidecar or a mesh gateway, in Consul's shape.",
        Datacenter=TEXT,
        Service={"type": "object"},
    ),
    "Documents": many({"anyOf": [named("Entry"), named("Registration")]}),
    "Batch": {"anyOf": [_DOCUMENT, many(_DOCUMENT)]},
    "Written": thing(
        "What a batch did.",
        {
            "dry_run": {**TRUTH, "description": "That nothing was written."},
            "warnings": many(TEXT),
            "failed": _FAILED,
            "passed_over": {**many(TEXT), "description": "What of the documents is not for Pointsman."},
        },
        generation=WHOLE,
        changed=TRUTH,
        published=_MOVED,
        manifests={**many(TEXT), "description": "The manifests that changed: what proxies get, besides the snapshots."},
    ),
    "Order": thing("An order.", **_ORDER),
    "Orders": thing(
        "The orders in force, and those that ended lately.",
        revision=WHOLE,
        in_force=many(named("Order")),
        ended=many(thing("An order that is over.", **_ORDER, ended=MOMENT, ended_by=TEXT)),
    ),
    "Wish": thing(
        "An order as it is given: what a drain, pin or freeze is about, an end (`for` or `until`), and a reason.",
        {
            "datacenter": both(TEXT),
            "service": {**both(TEXT), "description": "NAME or NAMESPACE/NAME."},
            "caller": both(TEXT),
            "for": {**both(TEXT), "examples": ["2h"]},
            "until": {**both(TEXT), "examples": ["2026-11-27T14:00:00Z"]},
        },
        verb=_SUBJECT["verb"],
        reason={"type": "string", "minLength": 1, "maxLength": LONGEST_REASON},
    )
    | {"additionalProperties": False},
    "Effect": thing(
        "What an order does to a cluster: the targets that serve without and with it, and the weights of their healthy "
        "instances.",
        **_EFFECT,
    ),
    "Given": thing(
        "An order that is in force, or would be.",
        {"warnings": many(TEXT)},
        order=named("Order"),
        dry_run=TRUTH,
        effects=many(named("Effect")),
        moved=WHOLE,
        failed=_FAILED,
    ),
    "Ended": thing(
        "An order that is over.",
        {"warnings": many(TEXT)},
        id=TEXT,
        ended={**TRUTH, "description": "Whether it was in force until now."},
        moved=WHOLE,
        failed=_FAILED,
    ),
    "Sources": many(thing("Who tells of health.", **_SOURCE)),
    "Forgotten": thing("What was, or would be, taken away.", **_SOURCE, dry_run=TRUTH, moved=many(TEXT)),
    "Gateways": thing(
        "The mesh gateways of all datacenters.",
        gateways=many(
            thing(
                "A mesh gateway, where others reach it.", datacenter=TEXT, id=TEXT, node=TEXT, address=TEXT, port=WHOLE
            )
        ),
    ),
    "Status": thing(
        "Where traffic goes.",
        {
            "rejections": {**many({"type": "object"}), "description": "What Envoys rejected, on one machine."},
            "deployed": {"type": "object", "description": "Which build and parameters are in force, on AWS."},
        },
        schema=WHOLE,
        trust_domain=TEXT,
        generation=WHOLE,
        propagated=WHOLE,
        datacenters=many(TEXT),
        notices=TEXT,
        resolvers=many(
            thing(
                "A resolver, as the sidecars of a datacenter see it.",
                service=TEXT,
                namespace=TEXT,
                datacenter=TEXT,
                cluster=TEXT,
                version=WHOLE,
                generation=WHOLE,
                active=TEXT,
                why=TEXT,
                since=MOMENT,
                published=MOMENT,
                served={**TRUTH, "description": "Whether a target has a healthy instance."},
                failed_over={**TRUTH, "description": "Whether not the first target serves."},
                trouble={**TEXT, "description": 'What is wrong with what is published, "" if nothing is.'},
                switch=_CAUSE,
                targets=many(
                    thing(
                        "A target, and how many of its instances are healthy.",
                        id=TEXT,
                        datacenter=TEXT,
                        mode=TEXT,
                        healthy=WHOLE,
                        total=WHOLE,
                        gateways=many(
                            thing(
                                "The mesh gateways of a datacenter on the way to it.",
                                datacenter=TEXT,
                                usable=WHOLE,
                                known=WHOLE,
                            )
                        ),
                    )
                ),
                avoided=many(TEXT),
            )
        ),
        sources=many(thing("A source with a lease.", **_LEASE)),
        orders=many(named("Order")),
        troubles=many(_TROUBLE),
        findings=many(
            thing(
                "What does not fit together, and what to do.", what=TEXT, severity=TEXT, where=TEXT, says=TEXT, do=TEXT
            )
        ),
    ),
    "History": {
        "anyOf": [
            thing(
                "What happened, the oldest first.",
                schema=WHOLE,
                since=MOMENT,
                until=MOMENT,
                happenings=many(
                    thing(
                        "Something that happened: a switch, or what a cause can be.",
                        at=MOMENT,
                        kind={"type": "string", "enum": ["switch", *(each.value for each in CauseKind if each)]},
                        text=TEXT,
                        cause=_CAUSE,
                        service=TEXT,
                        namespace=TEXT,
                        datacenter=TEXT,
                        cluster=TEXT,
                        version=WHOLE,
                        before=TEXT,
                        after=TEXT,
                        why=TEXT,
                    )
                ),
                more=TRUTH,
            ),
            thing(
                "Who served at a moment.",
                schema=WHOLE,
                at=MOMENT,
                served=many(
                    thing(
                        "A service, as the sidecars of a datacenter saw it.",
                        service=TEXT,
                        namespace=TEXT,
                        datacenter=TEXT,
                        cluster=TEXT,
                        version=WHOLE,
                        active=TEXT,
                        since=MOMENT,
                        published=MOMENT,
                        why=TEXT,
                        switch=_CAUSE,
                        targets=many(thing("A target.", id=TEXT, healthy=WHOLE, total=WHOLE)),
                    )
                ),
                unknown={**many(TEXT), "description": "Clusters of which nothing is kept from then."},
            ),
        ]
    },
    "Proxies": thing(
        "Envoys and what they have, the worst first.",
        schema=WHOLE,
        now=MOMENT,
        adapters=many(
            thing("An adapter, and how many Envoys it has.", name=TEXT, at=MOMENT, envoys=WHOLE, unnamed=WHOLE)
        ),
        counts={"type": "object", "additionalProperties": WHOLE},
        envoys=many(
            thing(
                "An Envoy, or a registered proxy that no adapter has seen.",
                datacenter=TEXT,
                proxy=TEXT,
                node=TEXT,
                way=TEXT,
                adapter=TEXT,
                state={"type": "string", "enum": [each.value for each in State]},
                behind_s={"type": "number"},
                since=MOMENT,
                version=TEXT,
                newest=MOMENT,
                lacks=many(thing("Something it lacks.", why=TEXT, kind=TEXT, name=TEXT, reason=TEXT, since=MOMENT)),
                missing={**many(TEXT), "description": "Clusters of which its adapter does not have the newest."},
                problems=many(TEXT),
            )
        ),
    ),
    "Instances": thing(
        "The instances of a service.",
        schema=WHOLE,
        service=TEXT,
        namespace=TEXT,
        instances=many(
            thing(
                "An instance, as its source states it.",
                datacenter=TEXT,
                node=TEXT,
                id=TEXT,
                address=TEXT,
                status=TEXT,
                healthy=TRUTH,
                counts=TRUTH,
                weight=WHOLE,
                healthy_since=MOMENT,
                ill_at=MOMENT,
                checks=many(thing("A check.", id=TEXT, name=TEXT, status=TEXT, output=TEXT, of_node=TRUTH)),
                source=TEXT,
                epoch={"type": "integer"},
                index={"type": "integer"},
                lease_ms=WHOLE,
                heard_at=MOMENT,
                silent_since=MOMENT,
            )
        ),
    ),
    "Explanation": thing(
        "The chain of a service as callers in a datacenter have it.",
        schema=WHOLE,
        service=TEXT,
        namespace=TEXT,
        datacenter=TEXT,
        used_from=TEXT,
        protocol=TEXT,
        customization=TEXT,
        chain={
            "type": "object",
            "description": "A router, a splitter or a resolver, by its `kind`, with what it leads to.",
        },
        callers=many(
            thing(
                "A service that the chain ends at, with the intentions that apply to calls of it, in their order.",
                service=TEXT,
                namespace=TEXT,
                caller={**both(TEXT), "description": "Then it is the one that decides what this caller may do."},
                intentions=many(
                    thing(
                        "What a source may do.",
                        source={**TEXT, "description": "As `namespace/name`, each of which may be `*`."},
                        permissions={**many({"type": "object"}), "description": "The first that matches decides."},
                        otherwise={"type": "string", "enum": ["allow", "deny"]},
                        entry=TEXT,
                    )
                ),
            )
        ),
        text={**TEXT, "description": "The same for people, as a tree."},
    ),
    "Supposed": thing(
        "What is supposed, all of it at once.",
        {
            "down": {**many(TEXT), "description": "Datacenters, and services in one: dc1, dc1/web, dc1/namespace/web."},
            "orders": {**many(TEXT), "description": "Orders in words: drain dc1, pin web to dc3, end d-1."},
            "documents": {**many(_DOCUMENT), "description": "What would be written."},
        },
    )
    | {"additionalProperties": False, "minProperties": 1},
    "WhatIf": thing(
        "What would happen (docs/what-if.md).",
        {"passed_over": {**many(TEXT), "description": "What was sent and is not for Pointsman."}},
        schema=WHOLE,
        generation=WHOLE,
        result={"type": "string", "enum": ["nothing", "changes", "nowhere"]},
        down=many(TEXT),
        orders=many(TEXT),
        documents=many(_CHANGED),
        plans=many(
            thing(
                "A cluster that is computed from something else than before.",
                datacenter=TEXT,
                cluster=TEXT,
                of={"type": "string", "enum": ["sidecars", "gateways"]},
                what=_WHAT,
                before=both({"type": "object"}),
                after=both({"type": "object"}),
            )
        ),
        clusters=many(
            thing(
                "What becomes of a cluster.",
                change={"type": "string", "enum": ["moves", "comes", "goes", "falls", "stays"]},
                stranded={**TEXT, "description": 'Why its callers would have nowhere to go, "" if they have.'},
                **_EFFECT,
                registrations=WHOLE,
            )
        ),
        receivers=many(
            thing(
                "A target that clusters move to, with all that it serves.",
                target=TEXT,
                weight_before=WHOLE,
                weight_after=WHOLE,
                clusters_before=WHOLE,
                clusters_after=WHOLE,
                registrations_before=WHOLE,
                registrations_after=WHOLE,
            )
        ),
        calls=many(
            thing(
                "A call that intentions would decide otherwise.",
                caller={**TEXT, "description": "As `namespace/name`."},
                service={**TEXT, "description": "As `namespace/name`."},
                before=_DECISION,
                after=_DECISION,
                by={**TEXT, "description": 'The entry that decides then, "" if none does.'},
            )
        ),
        counts={"type": "object", "additionalProperties": WHOLE},
    ),
    "Log": thing(
        "Generations of the config, the newest first.",
        schema=WHOLE,
        generations=many(
            thing(
                "A generation.",
                generation=WHOLE,
                at=MOMENT,
                by=TEXT,
                message=TEXT,
                changed=both(WHOLE),
                changes=many(_CHANGES),
            )
        ),
        more=TRUTH,
    ),
    "Difference": thing(
        "What differs between two generations.",
        schema=WHOLE,
        before=WHOLE,
        after=WHOLE,
        changes=many(_CHANGED),
        clusters=thing("Clusters that differ.", new=many(TEXT), changed=many(TEXT), gone=many(TEXT)),
        moves={**many(named("Effect")), "description": "Where it sends traffic, with all else as it is now."},
    ),
}
"""By name."""
