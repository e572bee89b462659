"""Eras: which store something was published from, and in which of its lives."""

from dataclasses import dataclass

from pointsman.model.stored import Body, Damaged, number, text

LAST_EPOCH = 9_999_999_999
"""The greatest epoch that there can be: ten digits, as the keys of the history have them (the year 2286)."""


@dataclass(frozen=True, slots=True)
class Era:
    """The life of a store in which something was published (docs/architecture.md, "When a store goes back").

    `identity` is the store's, drawn when its first config is written and again by `pointsman recover`. `epoch` is the
    seconds since 1970 at that moment, and grows whenever the store is found to have gone back: what was published in a
    greater epoch is newer, whatever other numbers say. Of two stores with one epoch neither is newer.
    """

    identity: str
    epoch: int


NO_ERA = Era("", 0)
"""That of what no store has published."""


def era_json(era: Era) -> Body:
    """The fields that say of which era a stored object is."""
    return {"store": era.identity, "epoch": era.epoch}


def read_era(body: Body) -> Era:
    """The era that a stored object says it is of. Raises Damaged."""
    if (epoch := number(body, "epoch")) > LAST_EPOCH:
        raise Damaged(f"its epoch is {epoch}, and none is greater than {LAST_EPOCH}")
    return Era(text(body, "store"), epoch)
