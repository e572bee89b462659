"""`service-resolver`: subsets, redirect, failover, load balancing (docs/semantics.md, section 1)."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator

from pointsman.model.complaints import shown
from pointsman.model.duration import Nanoseconds
from pointsman.model.filters.language import FilterError, parse
from pointsman.model.names import DEFAULT_NAMESPACE, is_label, is_plain_text
from pointsman.model.owner import Owned
from pointsman.model.shape import Block, BlockMap, InNamespace, Shape, StringMap, Whole, camel

Complaint = tuple[str, str]
"""A field's path and what is wrong with it."""

MOST_SUBSETS: Final = 200
"""Subsets of one service: each filter is evaluated for every instance."""

MOST_FAILOVER_TARGETS: Final = 100
"""Datacenters or targets of one failover: all are measured when one of them changes."""


class Subset(Shape):
    """The instances of a service that `filter` keeps; with `only_passing`, a warning makes them unhealthy."""

    filter: str = ""
    only_passing: bool = False


class Redirect(Shape):
    """The target that a resolver sends all traffic to instead."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    datacenter: str = ""


class FailoverTarget(Shape):
    """One entry of a failover's `Targets`."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    datacenter: str = ""


class Failover(Shape):
    """The targets for the traffic of a subset (or of `*`) when none of its instances is healthy."""

    service: str = ""
    service_subset: str = ""
    namespace: str = ""
    datacenters: list[str] = []
    targets: list[FailoverTarget] = []


class LeastRequestConfig(Shape):
    """Options of the `least_request` policy."""

    choice_count: Whole = Field(default=0, ge=0, le=2**32 - 1)


ENVOY_RING_SIZES = (1024, 8 * 1024 * 1024)
"""The default smallest and largest size of a ring; the latter is also the maximum (Envoy's RingHashLbConfig)."""


class RingHashConfig(Shape):
    """Options of the `ring_hash` policy; 0 leaves a size to Envoy."""

    minimum_ring_size: Whole = Field(default=0, ge=0, le=ENVOY_RING_SIZES[1])
    maximum_ring_size: Whole = Field(default=0, ge=0, le=ENVOY_RING_SIZES[1])


class CookieConfig(Shape):
    """The cookie that a hash policy reads or sets."""

    session: bool = False
    ttl: Nanoseconds = 0
    path: str = ""


class HashPolicy(Shape):
    """Which part of a request is hashed: a header, a cookie, a query parameter, or the source address."""

    field: str = ""
    field_value: str = ""
    cookie_config: Annotated[CookieConfig | None, Block] = None
    source_ip: bool = False
    terminal: bool = False

    def check(self, at: str) -> Iterator[Complaint]:
        """What is wrong with the policy at path `at`."""
        if self.field not in ("", "header", "cookie", "query_parameter"):
            yield f"{at}.Field", f'must be "header", "cookie" or "query_parameter", not "{self.field}"'
        if self.source_ip and (self.field or self.field_value):
            yield f"{at}.SourceIP", "excludes Field and FieldValue; make it a policy of its own"
        if not self.source_ip and not (self.field and self.field_value):
            yield at, "needs Field and FieldValue, or SourceIP"
        if not is_plain_text(self.field_value):
            yield f"{at}.FieldValue", "has a character that no name has"
        cookie = self.cookie_config
        if cookie not in (None, CookieConfig()) and self.field != "cookie":
            yield f"{at}.CookieConfig", f'needs Field "cookie", not "{self.field}"'
        if cookie and cookie.ttl < 0:
            yield f"{at}.CookieConfig.TTL", "must not be negative"
        if cookie and cookie.session and cookie.ttl:
            yield f"{at}.CookieConfig", "Session excludes TTL: a session's cookie ends with the session"
        if cookie and not is_plain_text(cookie.path):
            yield f"{at}.CookieConfig.Path", "has a character that no path has"


class LoadBalancer(Shape):
    """How an Envoy chooses among the endpoints of a resolver's cluster."""

    policy: Literal["", "random", "round_robin", "least_request", "ring_hash", "maglev"] = ""
    least_request_config: Annotated[LeastRequestConfig | None, Block] = None
    ring_hash_config: Annotated[RingHashConfig | None, Block] = None
    hash_policies: list[HashPolicy] = []

    def check(self, path: str) -> Iterator[Complaint]:
        """What is wrong with the combination of policy and options."""
        if self.least_request_config not in (None, LeastRequestConfig()) and self.policy != "least_request":
            yield f"{path}.LeastRequestConfig", f'needs Policy "least_request", not "{self.policy}"'
        if self.least_request_config and self.least_request_config.choice_count == 1:
            yield f"{path}.LeastRequestConfig.ChoiceCount", "must be at least 2"
        if self.ring_hash_config not in (None, RingHashConfig()) and self.policy != "ring_hash":
            yield f"{path}.RingHashConfig", f'needs Policy "ring_hash", not "{self.policy}"'
        if ring := self.ring_hash_config:
            low, high = ring.minimum_ring_size or ENVOY_RING_SIZES[0], ring.maximum_ring_size or ENVOY_RING_SIZES[1]
            if low > high:
                default = "" if ring.minimum_ring_size else ", Envoy's default"
                reason = f"MinimumRingSize ({low}{default}) is larger than MaximumRingSize ({high})"
                yield f"{path}.RingHashConfig", reason
        if self.hash_policies and self.policy not in ("ring_hash", "maglev"):
            yield f"{path}.HashPolicies", f'needs Policy "ring_hash" or "maglev", not "{self.policy}"'
        for i, policy in enumerate(self.hash_policies):
            yield from policy.check(f"{path}.HashPolicies[{i}]")


class ServiceResolver(Owned):
    """How a service name becomes targets."""

    kind: Literal["service-resolver"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    default_subset: str = ""
    subsets: Annotated[dict[str, Subset], BlockMap] = {}
    redirect: Annotated[Redirect | None, Block] = None
    failover: Annotated[dict[str, Failover], BlockMap] = {}
    connect_timeout: Nanoseconds = 0
    request_timeout: Nanoseconds = 0
    load_balancer: Annotated[LoadBalancer | None, Block] = None
    meta: StringMap = {}

    @field_validator("load_balancer")
    @classmethod
    def _none_where_nothing_is_said(cls, balancer: LoadBalancer | None) -> LoadBalancer | None:
        return None if balancer == LoadBalancer() else balancer

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        yield from self._check_subsets()
        if self.redirect:
            yield from self._check_redirect(self.redirect)
        for key, failover in self.failover.items():
            yield from self._check_failover(key, failover)
        if self.connect_timeout < 0:
            yield "ConnectTimeout", "must not be negative"
        if self.load_balancer:
            yield from self.load_balancer.check("LoadBalancer")

    def _check_subsets(self) -> Iterator[Complaint]:
        if len(self.subsets) > MOST_SUBSETS:
            yield "Subsets", f"has {len(self.subsets)} subsets, {MOST_SUBSETS} are the most"
            return
        for name, subset in self.subsets.items():
            if not is_label(name):
                yield "Subsets", f"the subset name {shown(name)} is not a lower-case DNS label"
            try:
                parse(subset.filter)
            except FilterError as error:
                yield f'Subsets["{name}"].Filter', str(error)
        if self.default_subset and self.default_subset not in self.subsets:
            yield "DefaultSubset", f'"{self.default_subset}" is not a subset of "{self.name}"{self._known()}'

    def _check_redirect(self, redirect: Redirect) -> Iterator[Complaint]:
        if self.failover:
            yield "Redirect", "excludes Failover: keep one of the two"
        if not (redirect.service or redirect.service_subset or redirect.namespace or redirect.datacenter):
            yield "Redirect", "is empty; name at least a Service or a Datacenter"
        elif not redirect.service:
            if redirect.service_subset:
                yield "Redirect.ServiceSubset", "needs Redirect.Service"
            if redirect.namespace:
                yield "Redirect.Namespace", "needs Redirect.Service"
        elif self._is_own(redirect.service, redirect.namespace) and redirect.service_subset:
            yield from self._known_subset("Redirect.ServiceSubset", redirect.service_subset)

    def _check_failover(self, key: str, failover: Failover) -> Iterator[Complaint]:
        at = f'Failover["{key}"]'
        if key != "*" and key not in self.subsets:
            yield "Failover", f'"{key}" is neither "*" nor a subset of "{self.name}"{self._known()}'
        alone = failover.service or failover.service_subset or failover.namespace or failover.datacenters
        if not alone and not failover.targets:
            yield at, "names nothing; give at least one of Service, ServiceSubset, Namespace, Datacenters, Targets"
        if alone and failover.targets:
            yield (
                f"{at}.Targets",
                "excludes Service, ServiceSubset, Namespace and Datacenters; put them into the targets",
            )
        if failover.service_subset and self._is_own(failover.service, failover.namespace):
            yield from self._known_subset(f"{at}.ServiceSubset", failover.service_subset)
        if (count := max(len(failover.datacenters), len(failover.targets))) > MOST_FAILOVER_TARGETS:
            yield at, f"has {count} targets, {MOST_FAILOVER_TARGETS} are the most"
            return
        for i, datacenter in enumerate(failover.datacenters):
            if not datacenter:
                yield f"{at}.Datacenters[{i}]", "is empty"
        for i, target in enumerate(failover.targets):
            named = target.service or target.service_subset or target.namespace or target.datacenter
            if not named:
                yield (
                    f"{at}.Targets[{i}]",
                    "names nothing; give at least one of Service, ServiceSubset, Namespace, Datacenter",
                )
            if target.service_subset and self._is_own(target.service, target.namespace):
                yield from self._known_subset(f"{at}.Targets[{i}].ServiceSubset", target.service_subset)

    def _is_own(self, service: str, namespace: str) -> bool:
        return (service or self.name) == self.name and (namespace or self.namespace) == self.namespace

    def _known_subset(self, at: str, subset: str) -> Iterator[Complaint]:
        if subset not in self.subsets:
            yield at, f'"{subset}" is not a subset of "{self.name}"{self._known()}'

    def _known(self) -> str:
        names = ", ".join(sorted(self.subsets))
        return f"; it has {names}" if names else "; it has none"

    def labels(self) -> Iterator[Complaint]:
        """(path, name) of every name in the entry that has to be a DNS label where it is given."""
        if self.redirect:
            for field in ("service", "service_subset", "namespace", "datacenter"):
                yield f"Redirect.{camel(field)}", getattr(self.redirect, field)
        for key, failover in self.failover.items():
            for field in ("service", "service_subset", "namespace"):
                yield f'Failover["{key}"].{camel(field)}', getattr(failover, field)
            for i, datacenter in enumerate(failover.datacenters):
                yield f'Failover["{key}"].Datacenters[{i}]', datacenter
            for i, target in enumerate(failover.targets):
                for field in ("service", "service_subset", "namespace", "datacenter"):
                    yield f'Failover["{key}"].Targets[{i}].{camel(field)}', getattr(target, field)
