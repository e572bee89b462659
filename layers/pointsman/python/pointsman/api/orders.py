"""Orders of operators, over HTTP."""

from typing import Any

from pointsman.api.request import Answer, Api, Declined, Request, switched_on
from pointsman.model.bounded_json import read_json
from pointsman.model.complaints import brief
from pointsman.model.orders import Orders, ended_json, order_json
from pointsman.model.wishes import MOST_BYTES, read_wish
from pointsman.pipeline.give import EndedOrders, Given, Refused, end, give
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.settle import Settled
from pointsman.store import keys


def show_orders(api: Api, request: Request) -> Answer:
    """Show the orders in force, and those that ended lately."""
    return Answer(200, orders_body(read_orders_object(api.engine.store.get(keys.ORDERS)).orders))


def orders_body(found: Orders) -> dict[str, Any]:
    """`found` as plain JSON values."""
    return {
        "revision": found.revision,
        "in_force": [order_json(each) for each in found],
        "ended": [ended_json(each) for each in found.ended],
    }


def give_order(api: Api, request: Request) -> Answer:
    """Give an order, or change the one in force about the same, and say what moves where."""
    parameters = request.parameters
    dry_run, force = switched_on(parameters, "dry_run"), switched_on(parameters, "force")
    body = read_json(request.body, "the order", most_bytes=MOST_BYTES, unique_keys=True)
    wish = read_wish(body, api.engine.now(), request.by(parameters.get("by", "")))
    try:
        done = give(api.engine, wish, force=force, dry_run=dry_run)
    except Refused as error:
        effects = [each.json() for each in error.evaluation.effects]
        problems = [str(problem) for problem in error.problems]
        return Answer(409, {"error": str(error), "problems": problems, "effects": effects})
    if not dry_run:
        api.ordered()
    return Answer(200, given_body(done, dry_run))


def given_body(done: Given, dry_run: bool) -> dict[str, Any]:
    """An order that is given, as plain JSON values."""
    return {
        "order": order_json(done.order),
        "dry_run": dry_run,
        "effects": [each.json() for each in done.evaluation.effects],
        **_settled(done.settled),
    }


def _settled(settled: Settled) -> dict[str, Any]:
    """How many snapshots moved, what `failed`, and `warnings` if there are some."""
    found: dict[str, Any] = {"moved": len(settled.moved), "failed": settled.failures()}
    return found | ({"warnings": list(settled.warnings)} if settled.warnings else {})


def end_order(api: Api, request: Request) -> Answer:
    """End an order before its time."""
    parameters = request.parameters
    id_ = request.values["id"]
    orders = read_orders_object(api.engine.store.get(keys.ORDERS)).orders
    if orders.named(id_) is None and not any(each.order.id == id_ for each in orders.ended):
        raise Declined(404, f'order "{brief(id_)}": does not exist; GET /v1/orders shows what does')
    done = end(api.engine, id_, request.by(parameters.get("by", "")))
    api.ordered()
    return Answer(200, ended_body(id_, done))


def ended_body(id_: str, done: EndedOrders) -> dict[str, Any]:
    """An order that is over, as plain JSON values; `ended` is whether it was in force until now."""
    return {
        "id": id_,
        "ended": bool(done.orders),
        **_settled(done.settled),
    }
