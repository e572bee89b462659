"""Validates a change: every chain that it affects still has to compile."""

from collections.abc import Iterable, Iterator, Sequence

from pointsman.chain.compiler import compile_chain
from pointsman.chain.complaints import needs_requests, thing
from pointsman.chain.entryset import EntrySet, named_namespaces
from pointsman.chain.graph import HTTP_PROTOCOLS, ChainError
from pointsman.chain.protocol import spoken_by
from pointsman.model.complaints import MOST_PROBLEMS
from pointsman.model.entries import EntryKey, key_of
from pointsman.model.errors import Problem
from pointsman.model.intentions import EVERY, ServiceIntentions
from pointsman.model.names import DEFAULT_NAMESPACE, ServiceName

# Whether a chain compiles does not depend on the datacenter, so any name will do.
_ANYWHERE = "dc1"
_WITH_CHAINS = ("service-resolver", "service-router", "service-splitter")


def validate(after: EntrySet, changed: Iterable[EntryKey]) -> list[Problem]:
    """What is wrong with the state `after`, reached by writing or deleting the entries under `changed`.

    It ends a little after MOST_PROBLEMS: nobody reads more, and finding them takes long.

    It compiles the chains of docs/semantics.md, section 1: each changed service's own, those of services with an entry
    that refers to it, directly or through others, and for `proxy-defaults` those of all services with a router,
    splitter or resolver. Services whose protocol may change and whose intentions have permissions need requests.
    """
    keys = sorted(set(changed))
    problems = [problem for key in keys for problem in _namespace_problems(after, key)]
    if problems:
        return problems
    # One mistake breaks every chain that contains it: it is reported once.
    told: dict[str, Problem] = {}
    changed = frozenset(keys)
    for error, because in _errors(after, keys):
        told.setdefault(str(error), _problem(after, error, changed, because))
        if len(told) > MOST_PROBLEMS:
            break
    return list(dict.fromkeys(told.values()))


def _errors(after: EntrySet, keys: Sequence[EntryKey]) -> Iterator[tuple[ChainError, EntryKey]]:
    """What does not fit together, each with the changed entry that is the reason for looking there."""
    for service, because in sorted(touched(after, keys).items()):
        try:
            compile_chain(after, service, _ANYWHERE, _ANYWHERE)
        except ChainError as error:
            yield error, because
    for intentions, because in _intentions(after, keys):
        asking = [f"Sources[{i}].Permissions" for i, each in enumerate(intentions.sources) if each.permissions]
        spoken = spoken_by(after, intentions.destination)
        if asking and spoken.protocol not in HTTP_PROTOCOLS:
            yield needs_requests(spoken, key_of(intentions), asking[0]), because


def _intentions(after: EntrySet, keys: Iterable[EntryKey]) -> Iterator[tuple[ServiceIntentions, EntryKey]]:
    """The intentions that changed, or whose service may have another protocol now."""
    for key in keys:
        kind, namespace, name = key
        if kind == "proxy-defaults":
            yield from ((each, key) for each in after if isinstance(each, ServiceIntentions))
        elif kind in ("service-defaults", "service-intentions"):
            found = after.intentions(ServiceName(namespace, name))
            if found:
                yield found, key


def _problem(after: EntrySet, error: ChainError, changed: frozenset[EntryKey], because: EntryKey) -> Problem:
    """`error` as a problem of the changed entry that causes it, else of the one that `because` names."""
    for culprit in error.culprits:
        if culprit.key in changed:
            if after.get(culprit.key):
                return Problem(thing(culprit.key), culprit.field, culprit.reason)
            return Problem(_thing(after, culprit.key), "", str(error))
    return Problem(_thing(after, because), "", str(error))


def _thing(entries: EntrySet, key: EntryKey) -> str:
    return thing(key) if entries.get(key) else f"deleting {thing(key)}"


def _namespace_problems(after: EntrySet, key: EntryKey) -> Iterator[Problem]:
    kind, namespace, name = key
    entry = after.get(key)
    if entry is None:
        if kind == "namespace" and name != DEFAULT_NAMESPACE:
            yield from _needed_namespace(after, key)
        return
    exists = after.namespaces()
    if namespace not in exists and not (isinstance(entry, ServiceIntentions) and namespace == EVERY):
        yield Problem(thing(key), "Namespace", f'"{namespace}" does not exist; {_create(namespace)}')
    for at, named in named_namespaces(entry):
        if named not in exists and named != namespace:
            reason = f'"{named}" does not exist; {_create(named)}'
            yield Problem(thing(key), f"{at}.Namespace", reason)


def _needed_namespace(after: EntrySet, key: EntryKey) -> Iterator[Problem]:
    """The reasons why the namespace under `key` cannot be deleted, if any."""
    _, _, name = key
    inside = [key_of(entry) for entry in after if entry.namespace == name]
    if inside:
        reason = f"it is not empty: {thing(inside[0])} is there; delete what is in it first ({len(inside)} in all)"
        yield Problem(_thing(after, key), "", reason)
    for entry in after:
        for at, named in named_namespaces(entry):
            if named == name != entry.namespace:
                reason = f"{thing(key_of(entry))} refers to it in {at}.Namespace; change that first"
                yield Problem(_thing(after, key), "", reason)


def _create(namespace: str) -> str:
    return f'create it first, with an entry of Kind "namespace" and Name "{namespace}"'


def touched(after: EntrySet, keys: Iterable[EntryKey]) -> dict[ServiceName, EntryKey]:
    """The services whose chains a change of the entries under `keys` can change, each with the entry that is the
    reason.

    A chain that read a changed entry before the change reaches it through entries that refer to each other; the first
    of those that changed is among `keys` itself. So the state `after` the change is enough.
    """
    found: dict[ServiceName, EntryKey] = {}
    for kind, namespace, name in keys:
        if kind == "proxy-defaults":
            for entry in after:
                if entry.kind in _WITH_CHAINS:
                    found.setdefault(ServiceName(entry.namespace, entry.name), (kind, namespace, name))
        elif kind not in ("namespace", "service-intentions"):
            found[ServiceName(namespace, name)] = (kind, namespace, name)
    waiting = list(found)
    while waiting:
        service = waiting.pop()
        for user in after.referring(service):
            if user not in found:
                found[user] = found[service]
                waiting.append(user)
    return found
