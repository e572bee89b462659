"""Configure: one atomic batch of writes and deletions, validated as the state it leads to."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from pointsman.chain.entryset import EntrySet
from pointsman.chain.validate import validate
from pointsman.model.canonical import canonical, digest
from pointsman.model.complaints import MOST_PROBLEMS, cut
from pointsman.model.consul_documents import config_documents
from pointsman.model.entries import Entry, EntryKey, ProxyDefaults, key_of, parse_entry, thing_of
from pointsman.model.errors import InvalidInput, Problem
from pointsman.model.inbound import config_problems
from pointsman.model.names import ServiceName, is_trust_domain
from pointsman.model.note import NO_NOTE, Note
from pointsman.model.owner import AGENTS, Document, Owned, check_owner, not_ours, written
from pointsman.model.registration import Registration, is_registration, parse_registration, registration_thing
from pointsman.pipeline.build import Built, Changes, build
from pointsman.pipeline.config import Config, ConfigHead, Root, load_root
from pointsman.pipeline.config_head import write_config_head
from pointsman.pipeline.difference import Difference, of_build
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine
from pointsman.pipeline.lazy_map import LazyMap
from pointsman.pipeline.propagate import Progress, propagate
from pointsman.pipeline.settle import Settled
from pointsman.store.bears import WRITER
from pointsman.store.protocol import StoreError

DEFAULT_TRUST_DOMAIN = "pointsman"

_K = TypeVar("_K")

MOST_DOCUMENTS = 50_000
"""Entries and registrations of one batch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries and registrations to write and to delete, each valid by itself.

    `passed_over` says what was brought with them and is not for Pointsman. With an `owner` it changes and deletes only
    what has that owner, and what it writes anew has it (`pointsman.model.owner`).
    """

    entries: Sequence[Entry] = ()
    registrations: Sequence[Registration] = ()
    delete_entries: Sequence[EntryKey] = ()
    delete_registrations: Sequence[str] = ()
    owner: str = ""
    passed_over: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Configured:
    """The result of a batch: the config generation, whether it is new, and what was published."""

    generation: int
    changed: bool
    settled: Settled = field(default_factory=Settled)
    passed_over: Sequence[str] = ()

    def json(self) -> dict[str, Any]:
        """As plain JSON values, the answer to who wrote it: `warnings`, what `failed` and what was `passed_over` only
        if there are some."""
        found: dict[str, Any] = {
            "generation": self.generation,
            "changed": self.changed,
            "published": [f"{head.plan_key} v{head.version}" for head in self.settled.moved],
            "manifests": self.settled.manifests,
        }
        found |= {"warnings": list(self.settled.warnings)} if self.settled.warnings else {}
        found |= {"passed_over": list(self.passed_over)} if self.passed_over else {}
        return found | ({"failed": failed} if (failed := self.settled.failures()) else {})


def parse_documents(documents: Sequence[Mapping[str, Any]], *, owner: str = "", datacenter: str = "") -> Batch:
    """The batch of `owner` that writes `documents`: config entries and registrations in any of the shapes in which
    Consul has them (`pointsman.model.consul_documents`).

    `datacenter` is that of registrations that name none. What is not for Pointsman is `passed_over`, one line for each.
    Raises InvalidInput with the problems of all documents, at most MOST_PROBLEMS, and if all are passed over.
    """
    documents, passed_over = config_documents(documents, datacenter=datacenter)
    if len(documents) > MOST_DOCUMENTS:
        reason = f"has {len(documents)} documents, {MOST_DOCUMENTS} are the most; write them in several"
        raise InvalidInput.single("the batch", "", reason)
    check_owner(owner)
    problems: list[Problem] = []
    entries: dict[EntryKey, Entry] = {}
    registrations: dict[str, Registration] = {}
    for document in documents:
        if len(problems) > MOST_PROBLEMS:
            break
        try:
            if is_registration(document):
                registration = parse_registration(document)
                if registration.key in registrations:
                    thing = f"registration {registration.key}"
                    problems.append(Problem(thing, "", "occurs twice in one batch; keep one"))
                if not registration.is_gateway:
                    problems += _config_problems(document, registration.service.proxy.config, "Service.Proxy.Config")
                registrations[registration.key] = registration
            else:
                entry = parse_entry(document)
                if key_of(entry) in entries:
                    problems.append(Problem(thing_of(document), "", "occurs twice in one batch; keep one"))
                if isinstance(entry, ProxyDefaults):
                    problems += _config_problems(document, entry.config, "Config")
                entries[key_of(entry)] = entry
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(cut(problems))
    return Batch(list(entries.values()), list(registrations.values()), owner=owner, passed_over=passed_over)


def _config_problems(document: Mapping[str, Any], config: Mapping[str, Any], at: str) -> Iterator[Problem]:
    thing = registration_thing(document) if is_registration(document) else thing_of(document)
    return (Problem(thing, field, reason) for field, reason in config_problems(config, at))


def configure(
    engine: Engine,
    batch: Batch,
    *,
    prune: bool = False,
    generation: int | None = None,
    trust_domain: str = "",
    dry_run: bool = False,
    note: Note = NO_NOTE,
    progress: Progress = lambda text: None,
) -> Configured:
    """Accept `batch` as a whole and publish its consequences, or refuse it as a whole.

    With `prune` everything else of its owner goes (`pruned`). With a `generation`, only if that is still the config's.
    `trust_domain` is the mesh's; the first write fixes it ("" keeps the existing one). `note` stands beside the new
    generation, if there is one. Raises InvalidInput with every problem; then nothing was changed. When this returns the
    batch is durable and published.
    """

    def batch_for(old: Config) -> Batch:
        if generation is not None and old.root.generation != generation:
            raise Outdated(generation, old.root.generation)
        return pruned(old, batch) if prune else batch

    done = _accept(engine, batch_for, trust_domain=trust_domain, dry_run=dry_run, note=note, progress=progress)
    return replace(done, passed_over=batch.passed_over)


class Outdated(InvalidInput):
    """The config is not the generation any more for which a batch was meant. Nothing was changed."""

    def __init__(self, meant: int, now: int) -> None:
        problem = Problem("the config", "", f"is generation {now} by now, not {meant}: look again at what would change")
        super().__init__([problem])


def planned(engine: Engine, batch: Batch, *, prune: bool = False, trust_domain: str = "") -> Difference:
    """What `batch` would change. Nothing is written. Raises InvalidInput with every problem, as `configure`."""
    old = engine.config(load_root(engine.objects, engine.refresh().root))
    built = _next(old, pruned(old, batch) if prune else batch, trust_domain)
    return Difference(old) if built is None else of_build(old, built)


def pruned(config: Config, batch: Batch) -> Batch:
    """`batch` with the deletion of all else in `config` that its owner has; without an owner, of all that nobody has.

    Raises InvalidInput for what agents registered.
    """
    if batch.owner == AGENTS:
        reason = f'"{AGENTS}" is whom agents write as: what they registered goes with `pointsman delete`'
        raise InvalidInput.single("owner", "", reason)
    kept = {*map(key_of, batch.entries), *(each.key for each in batch.registrations)}
    entries = [key_of(each) for each in config.entries if each.owner == batch.owner]
    registrations = [key for key, each in config.registrations.items() if each.owner == batch.owner]
    return replace(
        batch,
        delete_entries=[*batch.delete_entries, *(key for key in entries if key not in kept)],
        delete_registrations=[*batch.delete_registrations, *(key for key in registrations if key not in kept)],
    )


def _accept(
    engine: Engine,
    batch_for: Callable[[Config], Batch],
    *,
    trust_domain: str,
    dry_run: bool,
    note: Note,
    progress: Progress,
) -> Configured:
    """Accept the batch that `batch_for` makes for the current config."""
    for _ in range(ATTEMPTS):
        head = engine.refresh()
        old = engine.config(load_root(engine.objects, head.root))
        new = _next(old, batch_for(old), trust_domain)
        if new is None or dry_run:
            settled = Settled() if dry_run else propagate(engine, progress)
            return Configured(head.generation, new is not None, settled)
        stored, objects = _store(old, new, engine.now(), note)
        engine.objects.put_many(objects)
        if write_config_head(engine, replace(head, generation=stored.root.generation, root=stored.root.digest)):
            engine.keep(stored)
            return Configured(stored.root.generation, True, propagate(engine, progress))
    raise Contended("the config is contended; run it again")


def _next(old: Config, batch: Batch, trust_domain: str) -> Built | None:
    """The config after `batch`; None if nothing changes. Raises InvalidInput."""
    named = _trust_domain(old, trust_domain)
    named_to_write = {*map(key_of, batch.entries), *(each.key for each in batch.registrations)}
    problems: list[Problem] = []
    old.maps["entries"].read_ahead([*map(key_of, batch.entries), *batch.delete_entries])
    entries: dict[EntryKey, Entry | None] = {}
    for entry in batch.entries:
        key = key_of(entry)
        entries |= _written(key, _thing(key), entry, old.entries.get(key), batch.owner, problems)
    for key in dict.fromkeys(batch.delete_entries):
        before = old.entries.get(key)
        problems += _deletion_problems(_thing(key), before, batch.owner, written=key in named_to_write)
        entries |= {key: None} if before is not None else {}
    old.registrations.read_ahead([*(each.key for each in batch.registrations), *batch.delete_registrations])
    registrations: dict[str, Registration | None] = {}
    for each in batch.registrations:
        thing = f"registration {each.key}"
        registrations |= _written(each.key, thing, each, old.registrations.get(each.key), batch.owner, problems)
    for name in dict.fromkeys(batch.delete_registrations):
        known = old.registrations.get(name)
        problems += _deletion_problems(f"registration {name}", known, batch.owner, written=name in named_to_write)
        registrations |= {name: None} if known is not None else {}
    changes = Changes(entries, registrations)
    old.maps["referring"].read_ahead([ServiceName(namespace, name) for _, namespace, name in entries])
    after = old.entries.with_changes(filter(None, entries.values()), [key for key in entries if entries[key] is None])
    problems += validate(after, entries)
    problems += _registration_problems(after.namespaces(), _to_check(old, after, registrations))
    if problems:
        raise InvalidInput(cut(problems))
    if not changes and old.root.trust_domain == named and old.root.digest and old.root.writer == WRITER:
        return None
    return build(old, after, changes, trust_domain=named)


def _to_check(old: Config, after: EntrySet, registrations: Mapping[str, Registration | None]) -> Iterable[Registration]:
    """The registrations that may name a namespace that is not there: the changed ones, and all if one has ended."""
    yield from filter(None, registrations.values())
    if not old.entries.namespaces() <= after.namespaces():
        yield from (each for key, each in old.registrations.items() if key not in registrations)


def _thing(key: EntryKey) -> str:
    return thing_of(dict(zip(("Kind", "Namespace", "Name"), key, strict=True)))


def _written(
    key: _K, thing: str, document: Document, before: Document | None, owner: str, problems: list[Problem]
) -> dict[_K, Document]:
    """The change that writes `document`, none if it says nothing new or may not be written."""
    try:
        found = written(thing, document, before, owner)
    except InvalidInput as error:
        problems += error.problems
        return {}
    return {} if found is before else {key: found}


def _deletion_problems(thing: str, before: Owned | None, owner: str, *, written: bool) -> list[Problem]:
    if written:
        return [Problem(thing, "", "is both written and deleted in one batch; keep one")]
    if before is None:
        return [Problem(thing, "", "is not there to delete")]
    return [not_ours(thing, before.owner, owner)] if owner and before.owner != owner else []


def _trust_domain(old: Config, wanted: str) -> str:
    current = old.root.trust_domain
    if wanted and not is_trust_domain(wanted):
        raise InvalidInput.single("trust domain", "", f'"{wanted}" cannot stand in an SNI and a SPIFFE id')
    if current and wanted and current != wanted:
        reason = f'this store belongs to "{current}", not to "{wanted}"; use another store'
        raise InvalidInput.single("trust domain", "", reason)
    return current or wanted or DEFAULT_TRUST_DOMAIN


def _registration_problems(namespaces: frozenset[str], registrations: Iterable[Registration]) -> list[Problem]:
    problems = []
    for each in registrations:
        if each.is_gateway:
            continue
        named = {"Service.Namespace": each.destination.namespace}
        for i, upstream in enumerate(each.service.proxy.upstreams):
            if upstream.destination_namespace:
                named[f"Service.Proxy.Upstreams[{i}].DestinationNamespace"] = upstream.destination_namespace
        for where, name in named.items():
            if name not in namespaces:
                reason = f'"{name}" does not exist; create it first, with an entry of Kind "namespace"'
                problems.append(Problem(f"registration {each.key}", where, reason))
    return problems


def _store(old: Config, built: Built, at: str, note: Note) -> tuple[Config, dict[str, bytes]]:
    """The config of `built`, written `at`, and the objects to write, which are only the changed ones."""
    objects: dict[str, bytes] = {}
    maps: dict[str, LazyMap[Any, Any]] = {}
    for name, before in old.maps.items():
        maps[name], written = before.after(built.changed[name])
        objects |= written
    previous = {"generation": old.root.generation, "root": old.root.digest} if old.root.digest else None
    shards = {name: each.shards for name, each in maps.items()}
    root = replace(built.root, maps=shards, previous=previous, at=at, note=note)
    data = canonical(root.json())
    objects[digest(data)] = data
    return Config(replace(root, digest=digest(data)), maps), objects


def rollback(
    engine: Engine, generation: int, *, note: Note = NO_NOTE, progress: Progress = lambda text: None
) -> Configured:
    """Make the entries and registrations of an earlier `generation` the config again, as a new generation.

    If `note` has no message, it says which generation that was.

    Raises InvalidInput if it never existed, or is not kept any more (`retention`).
    """
    try:
        wanted = earlier(engine, generation)
        entries, registrations = list(wanted.entries), list(wanted.registrations.values())
    except StoreError:
        # It may have been removed while it was read; then this raises.
        _check_kept(engine.refresh(), generation)
        raise

    def batch_for(current: Config) -> Batch:
        return Batch(
            entries,
            registrations,
            [key_of(entry) for entry in current.entries if wanted.entries.get(key_of(entry)) is None],
            [key for key in current.registrations if key not in wanted.registrations],
        )

    note = replace(note, message=note.message or f"rollback to generation {generation}")
    return _accept(engine, batch_for, trust_domain="", dry_run=False, note=note, progress=progress)


def earlier(engine: Engine, generation: int) -> Config:
    """The config of an earlier `generation`. Raises InvalidInput if it never existed, or is not kept any more."""
    head = engine.refresh()
    _check_kept(head, generation)
    root: Root = load_root(engine.objects, head.root)
    while root.generation > generation and root.previous:
        root = load_root(engine.objects, root.previous["root"])
    if root.generation != generation:
        raise InvalidInput.single(f"generation {generation}", "", f"is not in the history of {head.generation}")
    return engine.config(root)


def _check_kept(head: ConfigHead, generation: int) -> None:
    if generation < head.oldest:
        reason = f"is not kept any more; the oldest that is kept is {head.oldest}"
        raise InvalidInput.single(f"generation {generation}", "", reason)
