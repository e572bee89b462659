"""Settings of an upstream: in the registration of a sidecar, or for all sidecars of a service in its
`service-defaults`."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pointsman.model.complaints import shown
from pointsman.model.duration import LONGEST_MS, Nanoseconds
from pointsman.model.names import is_label
from pointsman.model.shape import Block, Shape, Whole

Mode = Literal["", "none", "local", "remote"]
"""A mesh gateway mode; "" means unset, so the next one in the order decides (docs/semantics.md, section 2)."""

Count = Annotated[Whole, Field(ge=0, le=2**32 - 1)]
Percent = Annotated[Whole, Field(ge=0, le=100)]


class MeshGateway(Shape):
    """Which mesh gateways traffic to another datacenter goes through."""

    mode: Annotated[Mode, BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)] = ""


class UpstreamLimits(Shape):
    """How much one sidecar sends to one cluster at a time; None is no limit."""

    max_connections: Count | None = None
    max_pending_requests: Count | None = None
    max_concurrent_requests: Count | None = None


class PassiveHealthCheck(Shape):
    """When a sidecar leaves out an instance that fails; 0 and None leave it to Envoy. Times are in nanoseconds."""

    interval: Annotated[Nanoseconds, Field(ge=0)] = 0
    max_failures: Count = 0
    enforcing_consecutive_5xx: Percent | None = None
    max_ejection_percent: Percent | None = None
    base_ejection_time: Annotated[Nanoseconds, Field(ge=0)] | None = None


class UpstreamSettings(Shape):
    """What a sidecar does differently for one upstream."""

    protocol: str = ""
    connect_timeout_ms: Annotated[Whole, Field(ge=0, le=LONGEST_MS)] = 0
    limits: Annotated[UpstreamLimits | None, Block] = None
    passive_health_check: Annotated[PassiveHealthCheck | None, Block] = None


class UpstreamConfig(UpstreamSettings):
    """Such settings for the upstream `name` of all sidecars of a service, or for all its upstreams."""

    name: str = ""
    namespace: str = ""
    mesh_gateway: Annotated[MeshGateway, Block] = MeshGateway()


class UpstreamConfiguration(Shape):
    """How the sidecars of a service call others: `overrides` by name, `defaults` for all of its upstreams."""

    overrides: list[UpstreamConfig] = []
    defaults: Annotated[UpstreamConfig | None, Block] = None

    def check(self, own: str) -> Iterator[tuple[str, str]]:
        """What is wrong with it; the service is in the namespace `own`."""
        if self.defaults and (self.defaults.name or self.defaults.namespace):
            field = "Name" if self.defaults.name else "Namespace"
            yield f"UpstreamConfig.Defaults.{field}", "must not be set: they hold for all upstreams; use Overrides"
        first: dict[tuple[str, str], int] = {}
        for i, each in enumerate(self.overrides):
            at = f"UpstreamConfig.Overrides[{i}]"
            for field, value in (("Name", each.name), ("Namespace", each.namespace or own)):
                if not is_label(value):
                    yield f"{at}.{field}", f"{shown(value)} is not a lower-case DNS label"
            key = (each.namespace or own, each.name)
            if key in first:
                yield f"{at}.Name", f'"{each.name}" is that of Overrides[{first[key]}] too; keep one'
            first.setdefault(key, i)
