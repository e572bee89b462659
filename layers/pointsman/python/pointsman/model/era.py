"""Eras: which store published something, and in which of its lives."""

from typing import NamedTuple

from pointsman.model.stored import Body, Damaged, number, text

LAST_EPOCH = 9_999_999_999
"""The greatest epoch: ten digits, as in the keys of the history (the year 2286)."""


class Era(NamedTuple):
    """The life of the store that published something (docs/architecture.md, "When a store goes back").

    `identity` is the store's, drawn at random with its first config and again by `pointsman recover`. `epoch` is the
    time of that in seconds since 1970, and grows when Pointsman notices that the store went back. What was published in
    a greater epoch is newer, whatever other numbers say. Of two stores with the same epoch neither is newer.
    """

    identity: str
    epoch: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.identity}"


NO_ERA = Era("", 0)
"""The era of what no store has published."""


def era_json(era: Era) -> Body:
    """The fields of a stored object that name its era."""
    return {"store": era.identity, "epoch": era.epoch}


def read_era(body: Body) -> Era:
    """The era in a stored object. Raises Damaged."""
    if (epoch := number(body, "epoch")) > LAST_EPOCH:
        raise Damaged(f"its epoch is {epoch}, and none is greater than {LAST_EPOCH}")
    return Era(text(body, "store"), epoch)
