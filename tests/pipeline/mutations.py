"""Ways to break the pipeline, one for each promise that its tests have to keep."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """`old`, which stands once in `file` (below the library), becomes `new`; `breaks` says what then holds no more.

    `first` is the test that keeps the promise, and is run before all others: `test_file.py::test_name`.
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
        "test_races.py::test_a_catalog_write_that_was_lost_is_written_again",
    ),
    Mutation(
        "a redelivery publishes what a crash left",
        "pipeline/ingest.py",
        "lambda root: jobs_of(engine, root, event), rosters)",
        "lambda root: jobs_of(engine, root, event) if done.new else {}, rosters)",
        "test_ingest.py::test_an_event_that_comes_again_writes_nothing_and_tells_all_the_same",
    ),
    Mutation(
        "a redelivery tells of heads that stood already",
        "pipeline/ingest.py",
        "settled.notices(stamped=not done.new)",
        "settled.moved",
        "test_ingest.py::test_an_event_that_comes_again_writes_nothing_and_tells_all_the_same",
    ),
    Mutation(
        "a redelivery tells the gateways what a crash kept from them",
        "pipeline/ingest.py",
        "elif not done.new and stored is not None:",
        "elif False:",
        "test_notify.py::test_the_redelivery_of_a_first_event_tells_the_gateways_what_a_crash_kept_from_them",
    ),
    Mutation(
        "gateways pass on a service that appears",
        "pipeline/ingest.py",
        "if not covers(root,",
        "if False and not covers(root,",
        "test_notify.py::test_a_change_of_config_tells_of_the_manifests_that_it_moved_after_their_heads",
    ),
    Mutation(
        "an event of gateways concerns those of the other datacenters",
        "pipeline/ingest.py",
        "for datacenter in root.gateways if datacenter != event.datacenter]",
        "for datacenter in root.gateways if datacenter == event.datacenter]",
        "test_ingest.py::test_gateways_know_a_service_from_its_first_event_and_another_datacenter_from_its_first_gateway",
    ),
]
_SETTLE = [
    Mutation(
        "a config that moved on meanwhile is taken",
        "pipeline/settle.py",
        "        if engine.root is not root:\n            root = engine.root\n",
        "        if False:\n            root = engine.root\n",
        "test_races.py::test_a_head_that_is_retired_while_an_event_is_taken_in_stays_retired",
    ),
    Mutation(
        "a head whose swap was lost is computed again",
        "pipeline/settle.py",
        "            if outcome.etag is None:\n",
        "            if False:\n",
        "test_ingest.py::test_and_six_when_it_loses_a_race",
    ),
    Mutation(
        "no manifest names a head that is not there",
        "pipeline/settle.py",
        "if reading.snapshot is None or reading.snapshot.retired:",
        "if False:",
        "test_failing.py::test_a_manifest_does_not_name_what_was_never_published",
    ),
    Mutation(
        "whoever supersedes a version copies it to the history",
        "pipeline/settle.py",
        "copies += [copy] if copy else []",
        "copies += []",
        "test_ingest.py::test_what_no_envoy_could_see_makes_no_version_and_no_notice_but_is_stamped",
    ),
    Mutation(
        "what no Envoy may get is not published",
        "pipeline/settle.py",
        "                content.check()\n",
        "                pass\n",
        "test_failing.py::test_what_no_envoy_may_get_is_not_published_and_stops_nothing_else",
    ),
]
_PUBLISH = [
    Mutation(
        "an incomparable provenance is read again",
        "pipeline/verdict.py",
        "if relation in (Relation.OLDER, Relation.INCOMPARABLE):",
        "if relation is Relation.OLDER:",
        "test_races.py::test_a_reader_who_knows_what_a_head_does_not_and_the_other_way_round_reads_again",
    ),
    Mutation(
        "an older provenance is read again",
        "pipeline/verdict.py",
        "if relation in (Relation.OLDER, Relation.INCOMPARABLE):",
        "if relation is Relation.INCOMPARABLE:",
        "test_ingest.py::test_a_config_written_in_the_middle_of_an_event_is_not_undone",
    ),
    Mutation(
        "the provenance of equal content is stamped in",
        "pipeline/verdict.py",
        "return Verdict.STAMP, replace(current, content=content, provenance=provenance, store=store)",
        "return Verdict.STANDS, current",
        "test_ingest.py::test_what_no_envoy_could_see_makes_no_version_and_no_notice_but_is_stamped",
    ),
    Mutation(
        "no version is used twice",
        "pipeline/verdict.py",
        "Snapshot(current.version + 1, content,",
        "Snapshot(current.version, content,",
        "test_ingest.py::test_an_event_takes_four_round_trips_when_nobody_contends",
    ),
    Mutation(
        "a head is not retired for an older config than it was computed for",
        "pipeline/verdict.py",
        "    if current.at >= (era.epoch, generation):\n",
        "    if False:\n",
        "test_races.py::test_nothing_is_retired_that_a_config_accepted_meanwhile_brings_back",
    ),
    Mutation(
        "a retirement is remembered in the provenance",
        "pipeline/verdict.py",
        "retired=True, provenance=Provenance(era.epoch, generation, {}), store=era.identity)",
        "retired=True)",
        "test_races.py::test_a_head_that_is_retired_while_an_event_is_taken_in_stays_retired",
    ),
    Mutation(
        "what replaces a lost head is beyond every version that there was",
        "pipeline/verdict.py",
        "last = max(known + 1, number_beyond(now))",
        "last = 0",
        "test_ingest.py::test_a_damaged_head_is_replaced_by_a_version_that_no_envoy_has_seen",
    ),
    Mutation(
        "a head that comes back from retirement has a new version",
        "pipeline/verdict.py",
        "same_version(content) and not current.retired:",
        "same_version(content):",
        "test_configure.py::test_what_nobody_needs_any_more_is_retired_and_comes_back_above_its_old_version",
    ),
]
_PROPAGATE = [
    Mutation(
        "nothing is retired while a manifest names it",
        "pipeline/propagate.py",
        "    manifests = publish_manifests(",
        "    retire(engine, sorted(gone), config.root.generation)\n    manifests = publish_manifests(",
        "test_configure.py::test_a_rollback_is_a_new_generation_that_says_what_the_old_one_said",
    ),
    Mutation(
        "nothing is retired that a config accepted meanwhile has",
        "pipeline/propagate.py",
        "    if engine.root.digest != config.root.digest:\n        # A roster",
        "    if False:\n        # A roster",
        "test_races.py::test_nothing_is_retired_that_a_config_accepted_meanwhile_brings_back",
    ),
    Mutation(
        "a config that was overtaken names nothing",
        "pipeline/propagate.py",
        "    if engine.root.digest != config.root.digest:\n        # The newer",
        "    if False:\n        # The newer",
        "test_races.py::test_a_config_overtaken_before_its_heads_are_published_names_none_of_them",
    ),
    Mutation(
        "a config that was overtaken is not taken for published",
        "pipeline/propagate.py",
        "        if published:\n",
        "        if True:\n",
        "test_races.py::test_a_config_overtaken_before_its_heads_are_published_names_none_of_them",
    ),
    Mutation(
        "a config accepted while another is published is not taken for published",
        "pipeline/propagate.py",
        "            _mark(engine, config.root)",
        "            _mark(engine, load_root(engine.objects, engine.refresh().root))",
        "test_races.py::test_a_config_accepted_while_another_is_published_is_not_taken_for_published",
    ),
    Mutation(
        "what crashed configs published in between is retired as well",
        "pipeline/propagate.py",
        "for each in earlier for key in each.plans)",
        "for each in earlier[:1] for key in each.plans)",
        "test_crashes.py::test_what_a_crash_leaves_is_finished_by_the_next_verb_wherever_it_fell",
    ),
    Mutation(
        "manifests of registrations that are gone end",
        "pipeline/propagate.py",
        "for key in each.manifests.keys() - config.manifests.keys()",
        "for key in ()",
        "test_notify.py::test_the_end_of_a_manifest_is_told",
    ),
    Mutation(
        "manifests that a crashed writer published are told of",
        "pipeline/propagate.py",
        "told = [*manifests.moved, *manifests.stood]",
        "told = [*manifests.moved]",
        "test_notify.py::test_whoever_finishes_what_a_crash_left_tells_of_it",
    ),
    Mutation(
        "heads that a crashed writer published are told of",
        "pipeline/propagate.py",
        "if heads := out.notices():",
        "if heads := out.moved:",
        "test_notify.py::test_whoever_finishes_what_a_crash_left_tells_of_it",
    ),
    Mutation(
        "heads that gateways newly name are told of again where a notice was lost",
        "pipeline/propagate.py",
        "publish_roster(engine, datacenter, before.root.generation)",
        "publish_roster(engine, datacenter)",
        "test_notify.py::test_what_gateways_newly_name_is_told_again_where_its_notice_was_not_taken",
    ),
    Mutation(
        "a config head that another writer swapped is not written over",
        "pipeline/config_head.py",
        "after.serial, engine.nonce()), head.etag)",
        "after.serial, engine.nonce()), (engine.store.get(keys.CONFIG_HEAD) or head).etag)",
        "test_configure.py::test_a_change_of_everything_is_published_many_at_a_time",
    ),
]
_MANIFESTS = [
    Mutation(
        "a manifest of an older config does not replace a newer one",
        "pipeline/manifests.py",
        "(current == manifest or latest.note(key, current.at, manifest.at))",
        "current == manifest",
        "test_crashes.py::test_whoever_publishes_an_old_config_too_late_brings_nothing_back",
    ),
    Mutation(
        "what replaces a damaged manifest is taken by followers",
        "pipeline/manifests.py",
        "return None, number_beyond(now)",
        "return None, 0",
        "test_mended.py::test_a_damaged_object_is_replaced_by_one_that_followers_take",
    ),
    Mutation(
        "what changed just before is told on with the next change",
        "pipeline/manifests.py",
        "REMEMBERED = timedelta(minutes=10)",
        "REMEMBERED = timedelta(0)",
        "test_changes.py::test_a_manifest_tells_which_clusters_came_and_which_left_lately",
    ),
    Mutation(
        "many objects are swapped until none of the races is lost",
        "pipeline/swaps.py",
        "pending = lost + pending",
        "pending = pending",
        "test_races.py::test_a_manifest_that_a_slow_publisher_of_an_older_config_got_in_before_is_published_all_the_same",
    ),
]
_ROSTERS = [
    Mutation(
        "a damaged manifest of what no config has ends",
        "pipeline/manifests.py",
        "        if stored is None or isinstance(current",
        "        if current is None or isinstance(current",
        "test_mended.py",
    ),
    Mutation(
        "heads are published before gateways name them",
        "pipeline/rosters.py",
        "set(new.clusters) - set(known), since))",
        "set(), since))",
        "test_failing.py::test_the_gateways_are_not_told_of_what_was_never_published",
    ),
    Mutation(
        "gateways name nothing of a config that went meanwhile",
        "pipeline/rosters.py",
        "        if engine.root is not root:\n",
        "        if False:\n",
        "test_races.py::test_gateways_never_name_a_cluster_of_a_config_that_went_before_its_head_was_published",
    ),
    Mutation(
        "what gateways share does not go back to an older config",
        "pipeline/rosters.py",
        "if old is not None and old.at > head.at:",
        "if False:",
        "test_races.py::test_gateways_that_are_registered_again_meanwhile_do_not_lose_what_they_share",
    ),
    Mutation(
        "what gateways share is written again where the write was lost, and looked at once more where it won",
        "pipeline/rosters.py",
        "out.changed |= engine.store.put(write).etag is not None",
        "engine.store.put(write)\n        return PublishedRoster(moved_manifest(name, write.data), True, out.settled)",
        "test_races.py::test_the_gateways_of_a_datacenter_that_lost_them_meanwhile_name_nothing",
    ),
    Mutation(
        "gateways of a datacenter that has none any more name nothing",
        "pipeline/rosters.py",
        "            new = _ended(old, root, head.era)\n",
        "            new = old\n",
        "test_races.py::test_the_gateways_of_a_datacenter_that_lost_them_meanwhile_name_nothing",
    ),
    Mutation(
        "gateways are not told of what has no head",
        "pipeline/rosters.py",
        "            new = _nameable(",
        "            new = new if True else _nameable(",
        "test_failing.py::test_the_gateways_are_not_told_of_what_was_never_published",
    ),
]
_RECONCILE = [
    Mutation(
        "reconcile tells of heads",
        "pipeline/reconcile.py",
        "engine.untold.tell(settled.moved)",
        "engine.untold.tell([])",
        "test_notify.py::test_a_reconcile_tells_of_the_heads_that_it_mends_before_the_manifests_that_name_them",
    ),
    Mutation(
        "reconcile tells of manifests",
        "pipeline/reconcile.py",
        "    engine.untold.tell(moved)\n",
        "    engine.untold.tell([])\n",
        "test_notify.py::test_a_reconcile_tells_of_what_it_mends_and_of_nothing_else",
    ),
    Mutation(
        "reconcile tells later what was not taken",
        "pipeline/reconcile.py",
        "            engine.untold.tell_rest()\n",
        "",
        "test_notify.py::test_notices_that_nobody_takes_hold_up_no_repair_and_are_given_by_the_next_reconcile",
    ),
    Mutation(
        "a reconcile overtaken by a config retires nothing of it",
        "pipeline/reconcile.py",
        "    if engine.root is not root or engine.era != era:\n        # The rosters",
        "    if False:\n        # The rosters",
        "test_races.py::test_a_reconcile_overtaken_by_a_config_retires_nothing_that_it_brings_back",
    ),
    Mutation(
        "a reconcile overtaken by a config names nothing of it",
        "pipeline/reconcile.py",
        "        if engine.root is not root or engine.era != era:\n            return False\n",
        "",
        "test_races.py::test_a_reconcile_overtaken_by_a_config_names_nothing_that_is_not_published",
    ),
    Mutation(
        "reconcile knows what gateways pass on because of the catalog",
        "pipeline/reconcile.py",
        "    for source in appeared:\n",
        "    for source in ():\n",
        "test_races.py::test_an_event_that_began_before_a_reconcile_is_not_taken_for_something_left_over",
    ),
    Mutation(
        "reconcile retires what no config has",
        "pipeline/reconcile.py",
        "[key for key in heads if key not in known]",
        "[]",
        "test_races.py::test_reconcile_ends_what_no_config_has_and_mends_what_is_damaged",
    ),
    Mutation(
        "reconcile ends manifests that no config has",
        "pipeline/reconcile.py",
        "strays = [key for key in named if",
        "strays = [key for key in () if",
        "test_races.py::test_reconcile_ends_what_no_config_has_and_mends_what_is_damaged",
    ),
    Mutation(
        "reconcile publishes a config whose writer crashed",
        "pipeline/reconcile.py",
        "        found.warnings += propagate(engine, progress).warnings\n",
        "        engine.refresh()\n",
        "test_notify.py::test_whoever_finishes_what_a_crash_left_tells_of_it",
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
        "test_restored.py::test_one_object_back_at_an_earlier_revision_holds_up_nothing",
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
        "test_restored.py::test_one_object_back_at_an_earlier_revision_holds_up_nothing",
    ),
    Mutation(
        "equal provenance means equal content",
        "pipeline/verdict.py",
        "    if relation is Relation.EQUAL:\n        # Equal",
        "    if False:\n        # Equal",
        "test_restored.py::test_what_two_pasts_have_published_under_one_provenance_is_noticed",
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
_RETENTION = [
    Mutation(
        "nothing of the config is removed that a configure relied on meanwhile",
        "pipeline/retention.py",
        "            outcome = store.remove(batch, write)\n",
        "            store.remove(batch)\n            outcome = store.remove((), write)\n",
        "test_retention.py",
    ),
    Mutation(
        "a config is kept as long as it is not published",
        "pipeline/retention.py",
        "needed = before.generation >= head.propagated or age <= GRACE_S",
        "needed = age <= GRACE_S",
        "test_retention.py",
    ),
    Mutation(
        "the config of the last hour is kept whatever its number",
        "pipeline/retention.py",
        "needed = before.generation >= head.propagated or age <= GRACE_S",
        "needed = before.generation >= head.propagated",
        "test_retention.py",
    ),
    Mutation(
        "what a configure has just stored is not removed before its head names it",
        "pipeline/retention.py",
        "if key not in reached and now - written > GRACE_S]",
        "if key not in reached]",
        "test_retention.py",
    ),
    Mutation(
        "the config head says from which generation on all are kept",
        "pipeline/retention.py",
        "current = replace(head, oldest=oldest)",
        "current = head",
        "test_retention.py",
    ),
    Mutation(
        "of two who remove at once the slower leaves it to the other",
        "pipeline/retention.py",
        "            if self._engine.refresh().oldest > head.oldest:\n",
        "            if False:\n",
        "test_retention.py",
    ),
    Mutation(
        "the newest versions of a cluster are kept",
        "pipeline/retention.py",
        "                reverse=True,\n",
        "                reverse=False,\n",
        "test_retention.py",
    ),
    Mutation(
        "a rollback to what is not kept says so",
        "pipeline/configure.py",
        "    if generation < head.oldest:\n",
        "    if False:\n",
        "test_retention.py",
    ),
]
_UPLOADS = [
    Mutation(
        "whoever applies an upload looks again",
        "pipeline/deploy.py",
        "        if content in (applied, None):\n",
        "        if True:\n",
        "test_deploy.py",
    ),
    Mutation(
        "an upload that is gone was applied while it was there",
        "pipeline/deploy.py",
        "if content in (applied, None):",
        "if content == applied:",
        "test_deploy.py",
    ),
]
_SCOPE = [
    Mutation(
        "an event publishes nothing of another datacenter than the store is for",
        "pipeline/ingest.py",
        "    return engine.scope.of(jobs | ",
        "    return dict(jobs | ",
        "test_scope.py",
    ),
    Mutation(
        "a config publishes nothing of another datacenter than the store is for",
        "pipeline/propagate.py",
        "for key, entry in scope.of(config.plans).items() if",
        "for key, entry in config.plans.items() if",
        "test_scope.py",
    ),
    Mutation(
        "a reconcile says for which datacenters the store is",
        "pipeline/reconcile.py",
        "        _say_for_whom(engine)\n",
        "        engine.refresh()\n",
        "test_scope.py",
    ),
    Mutation(
        "a reconcile ends nothing of a datacenter that the store is for no more",
        "pipeline/reconcile.py",
        "named = scope.keys(_listed(engine, keys.MANIFESTS))",
        "named = _listed(engine, keys.MANIFESTS)",
        "test_scope.py",
    ),
    Mutation(
        "a reconcile retires nothing of a datacenter that the store is for no more",
        "pipeline/reconcile.py",
        "heads = scope.keys(_listed(engine, keys.SNAPSHOTS))",
        "heads = _listed(engine, keys.SNAPSHOTS)",
        "test_scope.py",
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
    *_RETENTION,
    *_UPLOADS,
    *_SCOPE,
    *_PROVENANCE,
]
