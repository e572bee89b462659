"""What would happen, over HTTP and for commands on a store (docs/what-if.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pointsman.api.request import Answer, Api, Request, switched_on
from pointsman.failover.down import Down, read_down
from pointsman.model.bounded_json import read_json
from pointsman.model.complaints import shown
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import MOST_BYTES
from pointsman.model.orders import MOST_IN_FORCE, Subject
from pointsman.model.wishes import read_subject
from pointsman.pipeline.configure import parse_documents, planned
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.propagate import Progress
from pointsman.pipeline.what_if import Supposition, what_if
from pointsman.pipeline.what_if_report import what_if_json

MOST_DOWN: Final = 100
"""Datacenters and services that are supposed to be down at once."""

_FIELDS: Final = ("down", "orders", "documents")
_THING: Final = "what is supposed"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is supposed, as it is asked for: each part may be empty.

    `documents` would be written by `owner`, None if no config is supposed; with `prune` all else of theirs would go.
    `datacenter` is that of registrations that name none.
    """

    down: Sequence[str] = ()
    orders: Sequence[str] = ()
    documents: Sequence[Mapping[str, Any]] | None = None
    owner: str = ""
    prune: bool = False
    datacenter: str = ""


def show_what_if(api: Api, request: Request) -> Answer:
    """Show what would happen if something was down or ordered: names and orders, separated by commas."""
    parameters = request.parameters
    down, orders = (
        [each.strip() for each in parameters.get(name, "").split(",") if each.strip()] for name in ("down", "orders")
    )
    return Answer(200, suppose(api.engine, Asked(down, orders), api.trust_domain, api.progress))


def answer_what_if(api: Api, request: Request) -> Answer:
    """Show what would happen with all at once that the body supposes: what is down, orders, documents of config."""
    parameters = request.parameters
    body = read_json(request.body, "the body", most_bytes=MOST_BYTES, unique_keys=True)
    if not isinstance(body, Mapping):
        raise InvalidInput.single(_THING, "", f"is {shown(body)}, not an object with {', '.join(_FIELDS)}")
    for name, value in body.items():
        if name not in _FIELDS:
            raise InvalidInput.single(_THING, shown(name), f"is no field; there are {', '.join(_FIELDS)}")
        of = Mapping if name == "documents" else str
        if not isinstance(value, list) or not all(isinstance(each, of) for each in value):
            kind = "documents" if name == "documents" else "texts"
            raise InvalidInput.single(_THING, name, f"is {shown(value)}, not a list of {kind}")
    asked = Asked(
        body.get("down", ()),
        body.get("orders", ()),
        body.get("documents"),
        parameters.get("owner", ""),
        switched_on(parameters, "prune"),
        parameters.get("dc", ""),
    )
    return Answer(200, suppose(api.engine, asked, api.trust_domain, api.progress))


def suppose(
    engine: Engine, asked: Asked, trust_domain: str = "", progress: Progress = lambda text: None
) -> dict[str, Any]:
    """What would happen, as JSON values. Raises InvalidInput, and StoreError."""
    if not asked.down and not asked.orders and asked.documents is None:
        raise InvalidInput.single(_THING, "", "is nothing: say what is down, which order is given, or other config")
    if len(asked.down) > MOST_DOWN:
        raise InvalidInput.single(_THING, "down", f"has {len(asked.down)} names, {MOST_DOWN} are the most")
    if len(asked.orders) > MOST_IN_FORCE:
        raise InvalidInput.single(_THING, "orders", f"are {len(asked.orders)}, {MOST_IN_FORCE} are the most")
    down: tuple[Down, ...] = tuple(map(read_down, asked.down))
    ended = tuple(each.split()[1] for each in asked.orders if _is_end(each))
    subjects: tuple[Subject, ...] = tuple(read_subject(each) for each in asked.orders if not _is_end(each))
    difference = None
    passed_over: Sequence[str] = ()
    if asked.documents is not None:
        batch = parse_documents(asked.documents, owner=asked.owner, datacenter=asked.datacenter)
        passed_over = batch.passed_over
        difference = planned(engine, batch, prune=asked.prune, trust_domain=trust_domain)
    told = what_if_json(what_if(engine, Supposition(difference, down, subjects, ended), progress))
    return told | ({"passed_over": list(passed_over)} if passed_over else {})


def _is_end(order: str) -> bool:
    """Whether it says that an order is over: `end d-1`."""
    return order.split()[:1] == ["end"] and len(order.split()) == 2
