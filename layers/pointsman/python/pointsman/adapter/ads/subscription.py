"""What an Envoy has asked for of one kind, what it has of it, and what it has yet to answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pointsman.adapter.ads.resources import Kind, Resource, Resources
from pointsman.adapter.ads.resources import told as unknown
from pointsman.discovery.version import NO_STAMP, Standing, Version, standing

MOST_NAMES = 100_000
"""Names that the subscriptions of one stream hold: asked for, and told or sent. A mesh gateway with 5,000 clusters has
30,000."""

MOST_UNANSWERED = 1000
"""Responses of one kind that an Envoy has yet to answer; what it says to older ones is ignored."""

MOST_REASON = 4096
"""Characters of the reason for a rejection."""


@dataclass(slots=True)
class Subscription:
    """One kind of resources on one stream.

    What is asked for: `everything`, or what is in `names`; of these, `owed` is what was asked for since and has to be
    sent even if the Envoy has it. What the Envoy has: `has`, sent or told by itself; `base` is all that one
    tells which speaks of versions by kind only. With `returning` it may come from an adapter that knew more.

    What became of it: `at` is the number of the Resources that it was brought to, `nonce` that of the last response,
    `unanswered` the names in those that it has neither accepted nor rejected, `answered` when it last did, `rejected`
    by name what it said ("" where it is not known which one was meant). `apart` are groups of names to send in a
    response each: one that was rejected is halved until the one at fault stands alone.
    """

    kind: Kind
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

    def wants(self, name: str) -> bool:
        """Whether it was asked for."""
        return self.everything or name in self.names

    def keep_still(self, resources: Resources) -> bool:
        """Count it as brought to `resources` if nothing of it can have changed since then: whether that is so."""
        if self.at != resources.number:
            if self.at != resources.before or self.kind not in resources.still:
                return False
            self.at = resources.number
        return not (self.owed or self.apart or self.returning)

    def catch_up(self, resources: Resources) -> bool:
        """Note whether we have caught up with the adapter that the Envoy comes from.

        True if that one had later manifests than `resources`: what the Envoy lacks of ours has ended there.
        """
        if self.returning and not any(_is_later(each, resources) for each in self.has.values()):
            self.returning = False  # from here on we are never behind what we have sent
        return self.returning

    def changed(self, resources: Resources) -> tuple[list[Resource], set[str] | None]:
        """What of `resources` the Envoy does not have; and the names of those of which it has something that does not
        come before what is there, empty where only its manifests are later, None if it is ahead in nothing."""
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
                    self.has[each.name] = each  # as if it came from here
                if stands in (Standing.OLDER, Standing.CONFLICT):
                    ahead.add(each.name)
                elif stands is Standing.NEWER and (held or not behind or self.kind is Kind.ENDPOINTS):
                    out.append(each)
        for name in sorted(self.owed & ours.keys()):
            if _standing(ours[name], self.has.get(name)) in (Standing.OLDER, Standing.CONFLICT):
                ahead.add(name)
            else:
                out.append(ours[name])
        return out, ahead if ahead or behind else None

    def owe(self, resources: Resources, names: Iterable[str]) -> None:
        """Have these sent again, where the Envoy has them as they are."""
        ours = resources.of[self.kind]
        self.owed |= {
            name
            for name in names
            if self.wants(name) and (held := self.has.get(name)) and held.version.digest == ours[name].version.digest
        }

    def forget(self) -> dict[str, Version]:
        """Nothing counts any more of what the Envoy said that it has: what that was, by name, "" for all of it."""
        told = {name: each.version for name, each in self.has.items() if each.is_told}
        said = {**told, "": self.base} if self.base else told
        self.has |= {name: unknown(name, None) for name in told}
        self.base, self.returning, self.at = None, False, -1
        return said

    def gone(self, resources: Resources) -> list[str]:
        """What the Envoy has and should not have any more.

        What it was sent under later manifests than those of `resources` is not gone as long as we are behind. If we
        were not, and are now, it is the store that went back.
        """
        ours = resources.of[self.kind]
        return [
            name
            for name, held in self.has.items()
            if name not in ours and not (self.returning and _is_later(held, resources))
        ]

    def take(self, nonce: str, sent: Sequence[Resource], gone: Iterable[str], number: int) -> None:
        """Note that these went out in one response."""
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

    @property
    def size(self) -> int:
        """How many names it holds."""
        return len(self.names) + len(self.has)


def _standing(ours: Resource, held: Resource | None) -> Standing:
    """How ours stands to what an Envoy has. What it was sent here came before, whatever its number: what is here never
    goes back, unless the store itself did."""
    stands = standing(ours.version, held.version if held else None)
    return Standing.NEWER if stands is not Standing.SAME and held and not held.is_told else stands


def _is_later(held: Resource, resources: Resources) -> bool:
    """Whether an Envoy was sent this under later manifests than those of `resources`, and not by us."""
    theirs = held.version
    # Without a stamp, the manifests were of an earlier epoch than what it tells.
    return (
        held.is_told
        and theirs.order[1:] != NO_STAMP
        and (theirs.era.epoch, theirs.order[1:]) > (resources.era.epoch, resources.stamp)
    )
