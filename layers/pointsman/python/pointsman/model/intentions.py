"""`service-intentions`: who may call a service (docs/semantics.md, section 11)."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator

from pointsman.model.complaints import shown
from pointsman.model.conditions import HeaderMatch, PathAndMethods, RegexBudget, check_one_condition
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName, is_label
from pointsman.model.owner import Owned
from pointsman.model.resolver import Complaint
from pointsman.model.shape import Block, InNamespace, Shape, StringMap

EVERY: Final = "*"
"""In place of a name: every service of the namespace. In place of a namespace: all of them."""

MOST_TURNS: Final = 20
"""How often the permissions of one source turn from allow to deny or back: each turn repeats those before it in what an
Envoy gets."""

Action = Literal["allow", "deny"]

_CONDITIONS: Final = ("present", "exact", "prefix", "suffix", "contains", "regex")
_WITH_CASE: Final = ("exact", "prefix", "suffix", "contains")


class HeaderPermission(HeaderMatch):
    """A condition on one request header, also on a part of it, and without regard to case."""

    contains: str = ""
    ignore_case: bool = False


class HTTPPermission(PathAndMethods):
    """All conditions that a request must meet; there is at least one."""

    header: list[HeaderPermission] = []

    def regexes(self) -> Iterator[tuple[str, str]]:
        """(field, expression) of every regular expression in it."""
        if self.path_regex:
            yield "PathRegex", self.path_regex
        for i, header in enumerate(self.header):
            if header.regex:
                yield f"Header[{i}].Regex", header.regex

    def check(self, at: str) -> Iterator[Complaint]:
        """What is wrong with the conditions at path `at`, apart from their regular expressions."""
        if self == HTTPPermission():
            yield at, "is empty; name a path, a method or a header, or set Action in place of the Permissions"
        yield from self.check_path(at)
        for i, header in enumerate(self.header):
            yield from check_one_condition(f"{at}.Header[{i}]", header, _CONDITIONS)
            if header.ignore_case and not any(getattr(header, field) for field in _WITH_CASE):
                reason = "needs Exact, Prefix, Suffix or Contains; an expression begins with (?i) instead"
                yield f"{at}.Header[{i}].IgnoreCase", reason
        yield from self.check_methods(at)


class Permission(Shape):
    """What becomes of the requests that `http` matches."""

    action: Action
    http: Annotated[HTTPPermission, Block]


class SourceIntention(Shape):
    """What the service `name` may do, or every service: an `action` for all of it, or `permissions` one by one."""

    name: str
    namespace: str = ""
    action: Literal["", "allow", "deny"] = ""
    permissions: list[Permission] = []
    type: Annotated[Literal["consul"], BeforeValidator(lambda value: value or "consul")] = "consul"
    description: str = ""


class ServiceIntentions(Owned):
    """Who may call the service `name`, or, named `*`, every service. Its sidecars enforce it."""

    kind: Literal["service-intentions"]
    name: str
    namespace: InNamespace = DEFAULT_NAMESPACE
    sources: list[SourceIntention] = []
    meta: StringMap = {}

    @property
    def destination(self) -> ServiceName:
        """The service that is called; its name may be EVERY, and so may its namespace then."""
        return ServiceName(self.namespace, self.name)

    def source(self, source: SourceIntention) -> ServiceName:
        """Who calls according to one of `sources`: in the namespace of the entry if it names none."""
        own = DEFAULT_NAMESPACE if self.namespace == EVERY else self.namespace
        return ServiceName(source.namespace or own, source.name)

    def check(self) -> Iterator[Complaint]:
        """Every rule of the entry that needs no other entry."""
        yield from _check_wildcard("", self.destination)
        if not self.sources:
            yield "Sources", 'is empty; name at least one, or "*" for all'
        budget = RegexBudget()
        first: dict[ServiceName, int] = {}
        for i, source in enumerate(self.sources):
            at, service = f"Sources[{i}]", self.source(source)
            yield from _check_source(at, source, service)
            if service in first:
                yield at, f"is Sources[{first[service]}] once more; keep one"
            first.setdefault(service, i)
            if source.permissions and EVERY in (self.name, self.namespace):
                yield f"{at}.Permissions", 'need a service as Name of the entry, not "*"; set Action'
            for j, permission in enumerate(source.permissions):
                inner = f"{at}.Permissions[{j}].HTTP"
                yield from budget.check(inner, permission.http.regexes())
                if budget.is_spent:
                    return
                yield from permission.http.check(inner)

    def labels(self) -> Iterator[Complaint]:
        """None: a source may be `*`, so `check` looks at them."""
        return iter(())


def _check_wildcard(at: str, service: ServiceName) -> Iterator[Complaint]:
    if service.namespace == EVERY != service.name:
        yield f"{at}Name", f'must be "*" where the namespace is "*", not {shown(service.name)}'


def _check_source(at: str, source: SourceIntention, service: ServiceName) -> Iterator[Complaint]:
    for field, value in (("Name", service.name), ("Namespace", service.namespace)):
        if value != EVERY and not is_label(value):
            yield f"{at}.{field}", f'{shown(value)} is neither a lower-case DNS label nor "*"'
    yield from _check_wildcard(f"{at}.", service)
    if source.action and source.permissions:
        yield f"{at}.Action", "excludes Permissions: keep one of the two"
    if not source.action and not source.permissions:
        yield f"{at}.Action", 'is required: "allow" or "deny", or Permissions in its place'
    turns = sum(one.action != other.action for one, other in pairwise(source.permissions))
    if turns > MOST_TURNS:
        reason = f"turn {turns} times from allow to deny or back, {MOST_TURNS} times are the most"
        yield f"{at}.Permissions", f"{reason}; put those of one action together"
