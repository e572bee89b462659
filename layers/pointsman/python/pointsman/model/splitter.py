"""`service-splitter`: shares of traffic (docs/semantics.md, section 1)."""

from collections.abc import Iterator
from typing import Literal

from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.resolver import Complaint, Unsupported
from pointsman.model.shape import StringMap


class Split(Unsupported):
    """One share: `weight` in percent, to two digits."""

    weight: float
    service: str = ""
    service_subset: str = ""
    namespace: str = ""

    @property
    def hundredths(self) -> int:
        """The weight in hundredths of a percent."""
        return round(self.weight * 100)


class ServiceSplitter(Unsupported):
    """How the traffic of a service is divided."""

    kind: Literal["service-splitter"]
    name: str
    namespace: str = DEFAULT_NAMESPACE
    splits: list[Split] = []
    meta: StringMap = {}

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        yield from self.unsupported("")
        if not self.splits:
            yield "Splits", "is empty; give at least one split"
            return
        seen: set[tuple[str, str, str]] = set()
        for i, split in enumerate(self.splits):
            yield from split.unsupported(f"Splits[{i}].")
            if split.weight < 0:
                yield f"Splits[{i}].Weight", "must not be negative"
            service, namespace = split.service or self.name, split.namespace or self.namespace
            if (service, split.service_subset, namespace) in seen:
                what = f'service "{service}", subset "{split.service_subset}", namespace "{namespace}"'
                yield f"Splits[{i}]", f"the destination ({what}) occurs more than once; add its weights up"
            seen.add((service, split.service_subset, namespace))
        total = sum(split.hundredths for split in self.splits)
        if total != 10_000:
            yield "Splits", f"the weights add up to {total / 100:g}, not to 100"

    def labels(self) -> Iterator[Complaint]:
        """(path, name) of every name in the entry that has to be a DNS label where it is given."""
        for i, split in enumerate(self.splits):
            yield f"Splits[{i}].Service", split.service
            yield f"Splits[{i}].ServiceSubset", split.service_subset
            yield f"Splits[{i}].Namespace", split.namespace
