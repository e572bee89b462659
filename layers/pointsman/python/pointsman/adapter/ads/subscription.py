"""An Envoy's subscription to one kind: what it requested, what it has, and what it has yet to acknowledge."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pointsman.adapter.ads.resources import Resource, Resources
from pointsman.adapter.ads.resources import told as unknown
from pointsman.delivery.response import ResourceKind
from pointsman.discovery.version import NO_STAMP, Standing, Version, standing

MOST_NAMES = 100_000
"""Names in all subscriptions of one stream: requested, reported or sent. A mesh gateway with 5,000 clusters has
30,000."""

MOST_UNANSWERED = 1000
"""Responses of one kind without an ACK or NACK so far; answers to older ones are ignored."""

MOST_REASON = 4096
"""Characters of the reason of a NACK."""


@dataclass(slots=True)
class Subscription:
    """The subscription to one kind of resources on one stream.

    Requested: `everything`, or `names`; of these, `owed` were requested again and have to be sent even if the Envoy has
    them. The Envoy's state: `has`, as sent or reported; `base` if it reported only a version of the kind. With
    `returning` it may come from an adapter that knew more.

    Progress: `at` is the number of the Resources last sent, `nonce` that of the last response, `unanswered` the names
    in responses without an ACK or NACK, `answered` the time of the last one, `rejected` the reasons by name ("" if the
    name is unknown). `apart` are groups of names to send in separate responses: a rejected group is halved until the
    faulty resource is alone.

    Listeners that were rejected are sent again at `again`: a port that was taken may be free by then.
    """

    kind: ResourceKind
    everything: bool = False
    names: set[str] = field(default_factory=set)
    owed: set[str] = field(default_factory=set)
    has: dict[str, Resource] = field(default_factory=dict)
    returning: bool = False
    base: Version | None = None
    at: int = -1
    nonce: str = ""
    unanswered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    answered: float = float("-inf")
    rejected: dict[str, str] = field(default_factory=dict)
    apart: list[tuple[str, ...]] = field(default_factory=list)
    again: float = float("inf")

    def wants(self, name: str) -> bool:
        """Whether `name` was requested."""
        return self.everything or name in self.names

    def keep_still(self, resources: Resources) -> bool:
        """Whether nothing of the kind can have changed since the last time; then it counts as brought to
        `resources`."""
        if self.at != resources.number:
            if self.at != resources.before or self.kind not in resources.still:
                return False
            self.at = resources.number
        return not (self.owed or self.apart or self.returning)

    def catch_up(self, resources: Resources) -> bool:
        """Whether the Envoy comes from an adapter with later manifests than `resources`.

        If so, resources that the Envoy lacks have ended there. If not, `returning` is cleared.
        """
        if self.returning and not any(_is_later(each, resources) for each in self.has.values()):
            self.returning = False  # from now on this process is never behind what it has sent
        return self.returning

    def changed(self, resources: Resources) -> tuple[list[Resource], set[str] | None]:
        """The resources that the Envoy lacks; and the names of those of which the Envoy has something newer or
        conflicting, empty if only its manifests are later, None if it is ahead in nothing."""
        ours = resources.of[self.kind]
        behind = self.catch_up(resources)
        if self.at == resources.number:
            candidates: Iterable[Resource] = ()
        else:
            candidates = resources.moved[self.kind] if self.at == resources.before else ours.values()
        out: list[Resource] = []
        ahead: set[str] = set()
        for each in candidates:
            if self.wants(each.name) and each.name not in self.owed:
                held = self.has.get(each.name)
                stands = _standing(each, held)
                if held and held.version == each.version:
                    self.has[each.name] = each  # as if this process had sent it
                if stands in (Standing.OLDER, Standing.CONFLICT):
                    ahead.add(each.name)
                elif stands is Standing.NEWER and (held or not behind or self.kind is ResourceKind.ENDPOINTS):
                    out.append(each)
        for name in sorted(self.owed & ours.keys()) if self.owed else ():
            if _standing(ours[name], self.has.get(name)) in (Standing.OLDER, Standing.CONFLICT):
                ahead.add(name)
            else:
                out.append(ours[name])
        return out, ahead if ahead or behind else None

    def owe(self, resources: Resources, names: Iterable[str]) -> None:
        """Have these sent again, even if the Envoy has them unchanged."""
        ours = resources.of[self.kind]
        self.owed |= {
            name
            for name in names
            if self.wants(name) and (held := self.has.get(name)) and held.version.digest == ours[name].version.digest
        }

    def offer_again(self) -> None:
        """Have all that was rejected sent again, unchanged."""
        self.owed |= self.has.keys() & (self.has if "" in self.rejected else self.rejected)
        self.again = float("inf")

    def forget(self) -> dict[str, Version]:
        """Forget what the Envoy reported. Returns that, by name, "" for the whole kind."""
        told = {name: each.version for name, each in self.has.items() if each.is_told}
        said = {**told, "": self.base} if self.base else told
        self.has |= {name: unknown(name, None) for name in told}
        self.base, self.returning, self.at = None, False, -1
        return said

    def gone(self, resources: Resources) -> list[str]:
        """The names that the Envoy has and should lose.

        Resources sent under later manifests than those of `resources` are kept while this process is behind. If it was
        not behind before, the store went back.
        """
        ours = resources.of[self.kind]
        return [
            name
            for name, held in self.has.items()
            if name not in ours and not (self.returning and _is_later(held, resources))
        ]

    def take(self, nonce: str, sent: Sequence[Resource], gone: Iterable[str], number: int) -> None:
        """Record that these were sent in one response."""
        for each in sent:
            self.has[each.name] = each
            self.owed.discard(each.name)
        for name in gone:
            self.has.pop(name, None)
            self.rejected.pop(name, None)
        self.nonce, self.at = nonce, number
        self.unanswered[nonce] = tuple(each.name for each in sent)
        if len(self.unanswered) > MOST_UNANSWERED:
            del self.unanswered[next(iter(self.unanswered))]


def _standing(ours: Resource, held: Resource | None) -> Standing:
    """How our resource relates to the Envoy's. One that this process sent counts as earlier, whatever its number: this
    process never goes back unless the store did."""
    stands = standing(ours.version, held.version if held else None)
    return Standing.NEWER if stands is not Standing.SAME and held and not held.is_told else stands


def _is_later(held: Resource, resources: Resources) -> bool:
    """Whether another adapter sent this to the Envoy under later manifests than those of `resources`."""
    theirs = held.version
    # Without a stamp, the manifests were of an earlier epoch than the version's.
    return (
        held.is_told
        and theirs.order[1:] != NO_STAMP
        and (theirs.era.epoch, theirs.order[1:]) > (resources.era.epoch, resources.stamp)
    )
