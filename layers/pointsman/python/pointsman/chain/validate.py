"""May these entries become the state? Every chain that a change touches still has to compile."""

from collections.abc import Iterable, Iterator

from pointsman.chain.compiler import compile_chain
from pointsman.chain.entryset import EntrySet, related
from pointsman.chain.graph import ChainError
from pointsman.model.entries import Entry, EntryKey, Namespace, entry_json, thing_of
from pointsman.model.errors import Problem
from pointsman.model.names import ServiceName

# Whether a chain compiles does not depend on where it is evaluated: any datacenter's name does.
_ANYWHERE = "dc1"
_WITH_CHAINS = ("service-resolver", "service-router", "service-splitter")


def validate(after: EntrySet, changed: Iterable[EntryKey]) -> list[Problem]:
    """Everything wrong with the state `after`, reached by writing or deleting the entries under `changed`.

    The chains compiled are those of docs/semantics.md, section 1: each changed service's own, those of the services
    with an entry that refers to it, and for `proxy-defaults` those of all services with a router, splitter or resolver.
    """
    keys = sorted(set(changed))
    problems = [problem for key in keys for problem in _namespace_problems(after, key)]
    if problems:
        return problems
    for service, because in sorted(_touched(after, keys).items()):
        try:
            compile_chain(after, service, _ANYWHERE, _ANYWHERE)
        except ChainError as error:
            problems.append(Problem(_thing(after, because), "", str(error)))
    return problems


def _thing(entries: EntrySet, key: EntryKey) -> str:
    kind, namespace, name = key
    thing = thing_of({"Kind": kind, "Name": name, "Namespace": namespace})
    return thing if entries.get(key) else f"deleting {thing}"


def _namespace_problems(after: EntrySet, key: EntryKey) -> Iterator[Problem]:
    kind, namespace, name = key
    exists = after.namespaces()
    entry = after.get(key)
    if entry is None:
        if kind == "namespace":
            left = [each for each in after if each.namespace == name]
            if left:
                what = thing_of(entry_json(left[0]))
                yield Problem(
                    _thing(after, key), "", f"{len(left)} entries are in it, such as {what}; delete them first"
                )
        return
    if namespace not in exists:
        yield Problem(_thing(after, key), "Namespace", f'"{namespace}" does not exist; {_create(namespace)}')
    if not isinstance(entry, Namespace):
        for service in related(entry):
            if service.namespace not in exists and service.namespace != namespace:
                what = f'refers to namespace "{service.namespace}", which does not exist'
                yield Problem(_thing(after, key), "", f"{what}; {_create(service.namespace)}")


def _create(namespace: str) -> str:
    return f'create it first, with an entry of Kind "namespace" and Name "{namespace}"'


def _touched(after: EntrySet, keys: list[EntryKey]) -> dict[ServiceName, EntryKey]:
    """The services whose chains have to be compiled, each with the changed entry that is the reason."""
    touched: dict[ServiceName, EntryKey] = {}
    own: dict[ServiceName, EntryKey] = {}
    for key in keys:
        kind, namespace, name = key
        if kind == "proxy-defaults":
            for entry in after:
                if entry.kind in _WITH_CHAINS:
                    touched.setdefault(ServiceName(entry.namespace, entry.name), key)
        elif kind != "namespace":
            own[ServiceName(namespace, name)] = key
    for entry in after if own else ():
        for service in _referred(entry):
            if service in own:
                touched.setdefault(ServiceName(entry.namespace, entry.name), own[service])
    return touched | own


def _referred(entry: Entry) -> Iterator[ServiceName]:
    return related(entry) if entry.kind in _WITH_CHAINS else iter(())
