"""`service-splitter`: shares of traffic (docs/semantics.md, section 1)."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from math import floor
from typing import Annotated, Literal

from pydantic import Field

from pointsman.model.headers import HeaderModifiers, header_problems
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.owner import Owned
from pointsman.model.resolver import Complaint
from pointsman.model.shape import Block, InNamespace, Number, Shape, StringMap


def scaled(percent: float) -> int:
    """`percent` in hundredths of a percent, rounded as in Consul: in single precision, halves up."""
    return floor(_single(_single(percent) * 100.0) + 0.5)


@lru_cache(maxsize=4096)
def share(outer: int, inner: int) -> int:
    """`inner` of `outer`, all in hundredths of a percent, as Consul multiplies the weights of nested splitters."""
    return scaled(_single(_single(outer / 100) * _single(inner / 100)) / 100)


def _single(value: float) -> float:
    found: float = struct.unpack("f", struct.pack("f", value))[0]
    return found


class Split(Shape):
    """One share: `weight` in percent, to two digits."""

    weight: Number = Field(ge=0, le=100, allow_inf_nan=False)
    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    request_headers: Annotated[HeaderModifiers | None, Block] = None
    response_headers: Annotated[HeaderModifiers | None, Block] = None

    @property
    def hundredths(self) -> int:
        """The weight in hundredths of a percent."""
        return scaled(self.weight)


class ServiceSplitter(Owned):
    """How the traffic of a service is divided."""

    kind: Literal["service-splitter"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    splits: list[Split] = []
    meta: StringMap = {}

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        if not self.splits:
            yield "Splits", "is empty; give at least one split"
            return
        seen: dict[tuple[str, str, str], int] = {}
        for i, split in enumerate(self.splits):
            yield from header_problems(f"Splits[{i}]", split)
            service, namespace = split.service or self.name, split.namespace or self.namespace
            destination = (service, split.service_subset, namespace)
            if destination in seen:
                what = f'service "{service}", subset "{split.service_subset}", namespace "{namespace}"'
                first = f"it is that of Splits[{seen[destination]}] too; add the weights up"
                yield f"Splits[{i}]", f"the destination ({what}) occurs more than once: {first}"
            seen.setdefault(destination, i)
        total = sum(split.hundredths for split in self.splits)
        if total != 10_000:
            yield "Splits", f"the weights add up to {total / 100:g}, not to 100"

    def labels(self) -> Iterator[Complaint]:
        """(path, name) of every name in the entry that has to be a DNS label where it is given."""
        for i, split in enumerate(self.splits):
            yield f"Splits[{i}].Service", split.service
            yield f"Splits[{i}].ServiceSubset", split.service_subset
            yield f"Splits[{i}].Namespace", split.namespace
