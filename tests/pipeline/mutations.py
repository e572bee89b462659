"""Ways to break the pipeline, one for each promise that its tests have to keep."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """`old`, which stands once in `file` (below the library), becomes `new`; `breaks` says what then holds no more.

    `first` is where a test that notices is to be looked for first.
    """

    breaks: str
    file: str
    old: str
    new: str
    first: str


_INGEST = [
    Mutation(
        "a catalog write that was lost is written again",
        "pipeline/ingest.py",
        "        if written.etag is not None:\n",
        "        if True:\n",
        "test_races.py",
    ),
    Mutation(
        "a redelivery publishes what a crash left",
        "pipeline/ingest.py",
        "lambda root: jobs_of(engine, root, event), rosters)",
        "lambda root: jobs_of(engine, root, event) if done.new else {}, rosters)",
        "test_ingest.py",
    ),
    Mutation(
        "a redelivery tells of heads that stood already",
        "pipeline/ingest.py",
        "settled.notices(stamped=not done.new)",
        "settled.moved",
        "test_ingest.py",
    ),
    Mutation(
        "a redelivery tells the gateways what a crash kept from them",
        "pipeline/ingest.py",
        "elif not done.new and stored is not None:",
        "elif False:",
        "test_notify.py",
    ),
    Mutation(
        "gateways pass on a service that appears",
        "pipeline/ingest.py",
        "if not covers(root,",
        "if False and not covers(root,",
        "test_notify.py",
    ),
    Mutation(
        "an event of gateways concerns those of the other datacenters",
        "pipeline/ingest.py",
        "for datacenter in root.gateways if datacenter != event.datacenter]",
        "for datacenter in root.gateways if datacenter == event.datacenter]",
        "test_ingest.py",
    ),
]
_SETTLE = [
    Mutation(
        "a config that moved on meanwhile is taken",
        "pipeline/settle.py",
        "        if engine.root is not root:\n            root = engine.root\n",
        "        if False:\n            root = engine.root\n",
        "test_races.py",
    ),
    Mutation(
        "a head whose swap was lost is computed again",
        "pipeline/settle.py",
        "            if outcome.etag is None:\n",
        "            if False:\n",
        "test_ingest.py",
    ),
    Mutation(
        "no manifest names a head that is not there",
        "pipeline/settle.py",
        "if reading.snapshot is None or reading.snapshot.retired:",
        "if False:",
        "test_failing.py",
    ),
    Mutation(
        "whoever supersedes a version copies it to the history",
        "pipeline/settle.py",
        "copies += [copy] if copy else []",
        "copies += []",
        "test_ingest.py",
    ),
    Mutation(
        "what no Envoy may get is not published",
        "pipeline/settle.py",
        "                content.check()\n",
        "                pass\n",
        "test_failing.py",
    ),
]
_PUBLISH = [
    Mutation(
        "an incomparable provenance is read again",
        "pipeline/verdict.py",
        "if relation in (Relation.OLDER, Relation.INCOMPARABLE):",
        "if relation is Relation.OLDER:",
        "test_races.py",
    ),
    Mutation(
        "an older provenance is read again",
        "pipeline/verdict.py",
        "if relation in (Relation.OLDER, Relation.INCOMPARABLE):",
        "if relation is Relation.INCOMPARABLE:",
        "test_ingest.py",
    ),
    Mutation(
        "the provenance of equal content is stamped in",
        "pipeline/verdict.py",
        "return Verdict.STAMP, replace(current, content=content, provenance=provenance, store=store)",
        "return Verdict.STANDS, current",
        "test_ingest.py",
    ),
    Mutation(
        "no version is used twice",
        "pipeline/verdict.py",
        "Snapshot(current.version + 1, content,",
        "Snapshot(current.version, content,",
        "test_ingest.py",
    ),
    Mutation(
        "a head is not retired for an older config than it was computed for",
        "pipeline/verdict.py",
        "    if current.at >= (era.epoch, generation):\n",
        "    if False:\n",
        "test_races.py",
    ),
    Mutation(
        "a retirement is remembered in the provenance",
        "pipeline/verdict.py",
        "retired=True, provenance=Provenance(era.epoch, generation, {}), store=era.identity)",
        "retired=True)",
        "test_races.py",
    ),
    Mutation(
        "what replaces a lost head is beyond every version that there was",
        "pipeline/verdict.py",
        "last = max(known + 1, number_beyond(now))",
        "last = 0",
        "test_mended.py",
    ),
    Mutation(
        "a head that comes back from retirement has a new version",
        "pipeline/verdict.py",
        "same_version(content) and not current.retired:",
        "same_version(content):",
        "test_configure.py",
    ),
]
_PROPAGATE = [
    Mutation(
        "nothing is retired while a manifest names it",
        "pipeline/propagate.py",
        "    manifests = publish_manifests(",
        "    retire(engine, sorted(gone), config.root.generation)\n    manifests = publish_manifests(",
        "test_configure.py",
    ),
    Mutation(
        "nothing is retired that a config accepted meanwhile has",
        "pipeline/propagate.py",
        "    if engine.root.digest != config.root.digest:\n        # A roster",
        "    if False:\n        # A roster",
        "test_races.py",
    ),
    Mutation(
        "a config that was overtaken names nothing",
        "pipeline/propagate.py",
        "    if engine.root.digest != config.root.digest:\n        # The newer",
        "    if False:\n        # The newer",
        "test_races.py",
    ),
    Mutation(
        "a config that was overtaken is not taken for published",
        "pipeline/propagate.py",
        "        if published:\n",
        "        if True:\n",
        "test_races.py",
    ),
    Mutation(
        "a config accepted while another is published is not taken for published",
        "pipeline/propagate.py",
        "            _mark(engine, config.root)",
        "            _mark(engine, load_root(engine.objects, engine.refresh().root))",
        "test_races.py",
    ),
    Mutation(
        "what crashed configs published in between is retired as well",
        "pipeline/propagate.py",
        "for each in earlier for key in each.plans)",
        "for each in earlier[:1] for key in each.plans)",
        "test_crashes.py",
    ),
    Mutation(
        "manifests of registrations that are gone end",
        "pipeline/propagate.py",
        "for key in each.manifests.keys() - config.manifests.keys()",
        "for key in ()",
        "test_notify.py",
    ),
    Mutation(
        "manifests that a crashed writer published are told of",
        "pipeline/propagate.py",
        "told = [*manifests.moved, *manifests.stood]",
        "told = [*manifests.moved]",
        "test_notify.py",
    ),
    Mutation(
        "heads that a crashed writer published are told of",
        "pipeline/propagate.py",
        "if heads := out.notices():",
        "if heads := out.moved:",
        "test_notify.py",
    ),
    Mutation(
        "heads that gateways newly name are told of again where a notice was lost",
        "pipeline/propagate.py",
        "publish_roster(engine, datacenter, before.root.generation)",
        "publish_roster(engine, datacenter)",
        "test_notify.py",
    ),
    Mutation(
        "a config head that another writer swapped is not written over",
        "pipeline/config_head.py",
        "after.serial, engine.nonce()), head.etag)",
        "after.serial, engine.nonce()), (engine.store.get(keys.CONFIG_HEAD) or head).etag)",
        "test_configure.py",
    ),
]
_MANIFESTS = [
    Mutation(
        "a manifest of an older config does not replace a newer one",
        "pipeline/manifests.py",
        "(current == manifest or latest.note(key, current.at, manifest.at))",
        "current == manifest",
        "test_crashes.py",
    ),
    Mutation(
        "what replaces a damaged manifest is taken by followers",
        "pipeline/manifests.py",
        "return None, number_beyond(now)",
        "return None, 0",
        "test_mended.py",
    ),
    Mutation(
        "what changed just before is told on with the next change",
        "pipeline/manifests.py",
        "REMEMBERED = timedelta(minutes=10)",
        "REMEMBERED = timedelta(0)",
        "test_changes.py",
    ),
    Mutation(
        "many objects are swapped until none of the races is lost",
        "pipeline/swaps.py",
        "pending = lost + pending",
        "pending = pending",
        "test_races.py",
    ),
]
_ROSTERS = [
    Mutation(
        "heads are published before gateways name them",
        "pipeline/rosters.py",
        "set(new.clusters) - set(known), since))",
        "set(), since))",
        "test_notify.py",
    ),
    Mutation(
        "gateways name nothing of a config that went meanwhile",
        "pipeline/rosters.py",
        "        if engine.root is not root:\n",
        "        if False:\n",
        "test_races.py",
    ),
    Mutation(
        "what gateways share does not go back to an older config",
        "pipeline/rosters.py",
        "if old is not None and old.at > head.at:",
        "if False:",
        "test_races.py",
    ),
    Mutation(
        "what gateways share is written again where the write was lost, and looked at once more where it won",
        "pipeline/rosters.py",
        "out.changed |= engine.store.put(write).etag is not None",
        "engine.store.put(write)\n        return PublishedRoster(moved_manifest(name, write.data), True, out.settled)",
        "test_races.py",
    ),
    Mutation(
        "gateways of a datacenter that has none any more name nothing",
        "pipeline/rosters.py",
        "            new = _ended(old, root, head.era)\n",
        "            new = old\n",
        "test_races.py",
    ),
    Mutation(
        "gateways are not told of what has no head",
        "pipeline/rosters.py",
        "            new = _nameable(",
        "            new = new if True else _nameable(",
        "test_failing.py",
    ),
]
_RECONCILE = [
    Mutation(
        "reconcile tells of heads",
        "pipeline/reconcile.py",
        "engine.untold.tell(settled.moved)",
        "engine.untold.tell([])",
        "test_notify.py",
    ),
    Mutation(
        "reconcile tells of manifests",
        "pipeline/reconcile.py",
        "    engine.untold.tell(moved)\n",
        "    engine.untold.tell([])\n",
        "test_notify.py",
    ),
    Mutation(
        "reconcile tells later what was not taken",
        "pipeline/reconcile.py",
        "            engine.untold.tell_rest()\n",
        "",
        "test_notify.py",
    ),
    Mutation(
        "a reconcile overtaken by a config retires nothing of it",
        "pipeline/reconcile.py",
        "    if engine.root is not root or engine.era != era:\n        # The rosters",
        "    if False:\n        # The rosters",
        "test_races.py",
    ),
    Mutation(
        "a reconcile overtaken by a config names nothing of it",
        "pipeline/reconcile.py",
        "        if engine.root is not root or engine.era != era:\n            return False\n",
        "",
        "test_races.py",
    ),
    Mutation(
        "reconcile knows what gateways pass on because of the catalog",
        "pipeline/reconcile.py",
        "    for source in appeared:\n",
        "    for source in ():\n",
        "test_races.py",
    ),
    Mutation(
        "reconcile retires what no config has",
        "pipeline/reconcile.py",
        "[key for key in heads if key not in known]",
        "[]",
        "test_races.py",
    ),
    Mutation(
        "reconcile ends manifests that no config has",
        "pipeline/reconcile.py",
        "strays = [key for key in named if",
        "strays = [key for key in () if",
        "test_races.py",
    ),
    Mutation(
        "reconcile publishes a config whose writer crashed",
        "pipeline/reconcile.py",
        "        found.warnings += propagate(engine, progress).warnings\n",
        "        engine.refresh()\n",
        "test_crashes.py",
    ),
    Mutation(
        "a roster that names what has no catalog any more tells that the store went back",
        "pipeline/rosters.py",
        "and (gone := appeared.vanished(old)):",
        "and (gone := ''):",
        "test_restored.py",
    ),
    Mutation(
        "a roster of another epoch may name what has no catalog, which says nothing more",
        "pipeline/rosters.py",
        "if old is not None and old.era == head.era and (gone",
        "if old is not None and (gone",
        "test_restored.py",
    ),
    Mutation(
        "a lost service among those that gateways pass on is noticed",
        "pipeline/rosters.py",
        "gone = [*(set(roster.services) - self.services), *(",
        "gone = [*(",
        "test_restored.py",
    ),
    Mutation(
        "a lost datacenter among those that gateways pass traffic on to is noticed",
        "pipeline/rosters.py",
        ", *(set(roster.datacenters) - self.datacenters)]",
        "]",
        "test_restored.py",
    ),
]
_WENT_BACK = [
    Mutation(
        "what is read beside a head may be older than it, which says nothing yet",
        "pipeline/settle.py",
        "before is not None and before.etag == reading.etag",
        "True",
        "test_restored.py",
    ),
    Mutation(
        "a store that went back gets a new epoch",
        "pipeline/settle.py",
        "out.warnings += filter(None, [raise_epoch(engine, gone_back)])",
        "pass",
        "test_restored.py",
    ),
    Mutation(
        "equal provenance means equal content",
        "pipeline/verdict.py",
        "    if relation is Relation.EQUAL:\n        # Equal",
        "    if False:\n        # Equal",
        "test_restored.py",
    ),
    Mutation(
        "a config is read after what was published before it counts as one that went back",
        "pipeline/config_head.py",
        "    if head.at >= published:\n",
        "    if False:\n",
        "test_restored.py",
    ),
    Mutation(
        "a manifest of a later config than there is tells that the store went back",
        "pipeline/manifests.py",
        "out.raised = latest.raise_above(engine)",
        "pass",
        "test_restored.py",
    ),
    Mutation(
        "a head of a later config than there is tells that the store went back",
        "pipeline/propagate.py",
        "return Retired(len(swapped.written), failed, latest.raise_above(engine))",
        "return Retired(len(swapped.written), failed)",
        "test_restored.py",
    ),
    Mutation(
        "a roster of a later config than there is tells that the store went back",
        "pipeline/rosters.py",
        "out.settled.warnings += filter(None, [raise_above(engine, old.at, name)])",
        "pass",
        "test_restored.py",
    ),
    Mutation(
        "a process takes the config that is there, though it knew a later one",
        "pipeline/engine.py",
        "            if self._head is known if back else _is_before(self._head, head):\n",
        "            if _is_before(self._head, head):\n",
        "test_restored.py",
    ),
    Mutation(
        "a lost config head is not taken for an empty store",
        "pipeline/engine.py",
        "        if published is None:\n",
        "        if True:\n",
        "test_restored.py",
    ),
]
_CONFIGURE = [
    Mutation(
        "a root is stored before the head names it",
        "pipeline/configure.py",
        "        engine.objects.put_many(objects)\n",
        "",
        "test_configure.py",
    ),
    Mutation(
        "a batch with a chain that does not compile is refused",
        "pipeline/configure.py",
        "    problems += validate(after,",
        "    validate(after,",
        "test_configure.py",
    ),
    Mutation(
        "what was deleted is gone",
        "pipeline/configure.py",
        "there = registrations.pop(name, None) is not None",
        "there = registrations.get(name, None) is not None",
        "test_configure.py",
    ),
    Mutation(
        "an empty batch finishes what a crash left",
        "pipeline/configure.py",
        "settled = Settled() if dry_run else propagate(engine, progress)",
        "settled = Settled()",
        "test_crashes.py",
    ),
    Mutation(
        "a plan that did not change keeps its generation",
        "pipeline/build.py",
        "return old if old is not None and old.plan == plan else",
        "return",
        "test_configure.py",
    ),
    Mutation(
        "a chain is compiled anew when an entry that it read is another one",
        "pipeline/build.py",
        "taken_over = before is not None and self._counts(before)",
        "taken_over = before is not None",
        "test_configure.py",
    ),
    Mutation(
        "a config object has the content that its name promises",
        "pipeline/objects.py",
        "stored is None or digest(stored.data) != name",
        "stored is None",
        "test_failing.py",
    ),
]
_MERGE = [
    Mutation(
        "a late statement does not win over a newer one",
        "model/catalog.py",
        "        if _greater(new, old) if old is not None else not is_forgotten(forgotten, new):\n",
        "        if True:\n",
        "test_catalog.py",
    ),
    Mutation(
        "an instance that a full list does not name is gone",
        "model/catalog.py",
        "        for node, id_ in others - written.keys():\n",
        "        for node, id_ in left_out - written.keys():\n",
        "test_catalog.py",
    ),
    Mutation(
        "a late statement brings nobody back whom a list said to be gone",
        "model/catalog.py",
        "return _above(own, registers) | (",
        "return registers | (",
        "test_catalog.py",
    ),
    Mutation(
        "the revision grows when what instances say changes",
        "model/catalog.py",
        "Catalog(catalog.revision + changed,",
        "Catalog(catalog.revision,",
        "test_catalog.py",
    ),
    Mutation(
        "of two statements at one index the same wins in any order",
        "model/catalog.py",
        "return (canonical(one[3]), one[4:]) > (canonical(other[3]), other[4:])",
        "return one[3] != other[3]",
        "test_catalog.py",
    ),
    Mutation(
        "a statement about checks alone describes nobody",
        "model/catalog.py",
        "    if not event.checks_only:\n",
        "    if True:\n",
        "test_catalog.py",
    ),
]
_PROVENANCE = [
    Mutation(
        "newer in one entry and older in another is incomparable",
        "xds/snapshot.py",
        "    if newer and older:\n",
        "    if False:\n",
        "test_provenance.py",
    ),
    Mutation(
        "the generation of the plan counts in a provenance",
        "xds/snapshot.py",
        "        newer, older = later, earlier\n",
        "        newer, older = False, False\n",
        "test_provenance.py",
    ),
]

MUTATIONS = [
    *_INGEST,
    *_SETTLE,
    *_PUBLISH,
    *_PROPAGATE,
    *_MANIFESTS,
    *_ROSTERS,
    *_RECONCILE,
    *_WENT_BACK,
    *_CONFIGURE,
    *_MERGE,
    *_PROVENANCE,
]
