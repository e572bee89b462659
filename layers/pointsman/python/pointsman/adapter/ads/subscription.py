"""What an Envoy has asked for of one kind, what it has of it, and what it has yet to answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pointsman.adapter.ads.resources import Kind, Resource, Resources
from pointsman.discovery.version import Standing, Version, standing


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

    def is_still(self, resources: Resources) -> bool:
        """Whether nothing can have changed since it was last brought anywhere; it then counts as brought here."""
        if self.at != resources.number:
            if self.at != resources.before or self.kind not in resources.still:
                return False
            self.at = resources.number
        return not (self.owed or self.apart or self.returning)

    def behind(self, resources: Resources) -> bool:
        """Whether the Envoy comes from an adapter that had later manifests: what it lacks of ours has ended there."""
        if self.returning and all(each.version.order[1:] <= resources.stamp for each in self.has.values()):
            self.returning = False  # from here on we are never behind what we have sent
        return self.returning

    def changed(self, resources: Resources) -> tuple[list[Resource], bool]:
        """What of `resources` the Envoy does not have, and whether it has something that is newer than there."""
        ours = resources.of[self.kind]
        behind = self.behind(resources)
        if self.at == resources.number:
            candidates: Iterable[Resource] = ()
        else:
            candidates = resources.moved[self.kind] if self.at == resources.before else ours.values()
        out, ahead = [], behind
        for each in candidates:
            if self.wants(each.name) and each.name not in self.owed:
                held = self.has.get(each.name)
                stands = standing(each.version, held.version if held else None)
                ahead |= stands is Standing.OLDER
                if stands is Standing.NEWER and (held or not behind or self.kind is Kind.ENDPOINTS):
                    out.append(each)
        for name in sorted(self.owed & ours.keys()):
            held = self.has.get(name)
            if held is None or standing(ours[name].version, held.version) is not Standing.OLDER:
                out.append(ours[name])
            else:
                ahead = True
        return out, ahead

    def gone(self, resources: Resources) -> list[str]:
        """What the Envoy has and should not have any more.

        What it was sent under later manifests than those of `resources` is not gone: we are behind.
        """
        ours = resources.of[self.kind]
        return [
            name for name, held in self.has.items() if name not in ours and held.version.order[1:] <= resources.stamp
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
