"""What would happen: with another config, with something down, with an order, with all of these at once.

Nothing is written. docs/what-if.md says what the answer means.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

from pointsman.chain.plan import Plan, SidecarPlan
from pointsman.failover.down import Down
from pointsman.failover.evaluation import Effect, Receiver, concerns, receivers
from pointsman.model.errors import InvalidInput
from pointsman.model.keys import datacenter_of, service_key, sidecar_plan_key
from pointsman.model.names import ServiceName
from pointsman.model.orders import Orders, Subject, Verb, Wish, begun, ended, over
from pointsman.pipeline.calls import Call, changed_calls
from pointsman.pipeline.codecs import PlanEntry, SidecarOrGateway
from pointsman.pipeline.config import Config, load_root
from pointsman.pipeline.difference import Difference
from pointsman.pipeline.engine import Engine
from pointsman.pipeline.evaluating import NOT_WRITTEN, Clusters, Supposed, effects
from pointsman.pipeline.give import changed_scopes, plans_about, plans_in
from pointsman.pipeline.known import known_names
from pointsman.pipeline.load import readers_of
from pointsman.pipeline.orders import read_orders_object
from pointsman.pipeline.propagate import Progress
from pointsman.store import keys
from pointsman.xds.manifest import SidecarManifest

ONE_AT_A_TIME = Lock()
"""Held while an answer is worked out, which takes half a gigabyte and seconds with ten thousand clusters, and everyone
who may read may ask. The others wait."""

_FEW = 64
"""Catalogs whose readers are looked up one by one; those of more are found among all plans."""

_SAYS = "what if"
"""Who gives the orders that are only supposed, and why."""


@dataclass(frozen=True, slots=True)
class Supposition:
    """What is supposed, all of it at once: the other config of `difference`, what is `down`, new orders about
    `subjects`, and that the orders with the ids `ended` are over."""

    difference: Difference | None = None
    down: tuple[Down, ...] = ()
    subjects: tuple[Subject, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fate:
    """What would become of a cluster, and how many registrations of sidecars have it then (if it goes, until then).

    `falls` is whether its callers are in a datacenter that is down: they go with it.
    """

    effect: Effect
    registrations: int
    falls: bool = False

    @property
    def change(self) -> str:
        """What happens, in a word."""
        if self.falls:
            return "falls"
        if not self.effect.before:
            return "comes"
        if not self.effect.after:
            return "goes"
        return "moves" if self.effect.moves else "stays"

    @property
    def stranded(self) -> str:
        """Why its callers, who have somewhere to go now, would have nowhere to go, or why an order is to be refused; ""
        for no reason."""
        if self.falls:
            return ""
        return (not self.effect.was_nowhere and self.effect.nowhere) or self.effect.objection


@dataclass(frozen=True, slots=True)
class Answer:
    """What would happen.

    `generation` is that of the config that is changed. `fates` are those of the clusters that move, come, go or are
    stranded, by the keys of their plans. `changed` has the plans, those of mesh gateways too, that would not be as they
    are. `calls` are those that intentions would decide otherwise. `evaluated` is how many clusters were looked at.
    """

    generation: int
    trust_domain: str
    supposition: Supposition
    fates: tuple[Fate, ...]
    receivers: tuple[Receiver, ...]
    changed: Mapping[str, tuple[Plan | None, Plan | None]] = field(default_factory=dict)
    evaluated: int = 0
    calls: tuple[Call, ...] = ()

    def of(self, change: str) -> list[Fate]:
        """The clusters to which this happens."""
        return [each for each in self.fates if each.change == change]

    @property
    def stranded(self) -> list[Fate]:
        """The clusters whose callers would have nowhere to go, or because of which an order is to be refused."""
        return [each for each in self.fates if each.stranded]

    @property
    def unready(self) -> list[Fate]:
        """The clusters that come before anything serves them, for registrations that come too."""
        return [each for each in self.of("comes") if each.effect.nowhere and not each.stranded]

    @property
    def changes(self) -> bool:
        """Whether anything would be otherwise, but for what is down itself."""
        return bool(self.supposition.difference or self.changed or any(each.change != "falls" for each in self.fates))


def what_if(engine: Engine, supposition: Supposition, progress: Progress = lambda text: None) -> Answer:
    """What would happen, as of now. Raises InvalidInput if an order cannot be given or ended, and StoreError."""
    with ONE_AT_A_TIME:
        return _what_if(engine, supposition, progress)


def _what_if(engine: Engine, supposition: Supposition, progress: Progress) -> Answer:
    config = engine.config(load_root(engine.objects, engine.refresh().root))
    difference = supposition.difference or Difference(config)
    now = engine.now()
    orders = over(read_orders_object(engine.store.get(keys.ORDERS)).orders, now)
    supposed = Supposed(orders, _after(orders, supposition, now), supposition.subjects, supposition.down)
    clusters = _clusters(engine, config, difference, supposed)
    found = list(effects(engine, clusters, supposed, _counting(progress, len(clusters))))
    # Who receives more serves others besides.
    targets = {_source(each.after) for each in found if each.moves and each.after}
    others = {key: plan for key, plan in _readers(engine, config, targets).items() if key not in clusters}
    beside = effects(engine, _as_they_are(others), supposed, _counting(progress, len(others)))
    was, will = _registrations(difference) if difference or found else (Counter(), Counter())
    gained = _gained(difference)
    fates = [
        Fate(each, will[each.plan_key] if each.after else was[each.plan_key], _falls(each, supposition.down))
        for each in (_with_somebody(each, gained) for each in found)
    ]
    served = [replace(each.effect, after="") if each.falls else each.effect for each in fates]
    return Answer(
        config.root.generation,
        config.root.trust_domain,
        supposition,
        tuple(
            each
            for each in sorted(fates, key=lambda each: each.effect.plan_key)
            if each.effect.moves or each.stranded or each.falls
        ),
        tuple(receivers([*served, *beside], {key: (was[key], will[key]) for key in was.keys() | will.keys()})),
        difference.plans,
        len(found),
        changed_calls(difference),
    )


def _counting(progress: Progress, total: int) -> Callable[[int], None]:
    return lambda done: progress(f"{done:,} of {total:,} clusters evaluated")


def _after(orders: Orders, supposition: Supposition, now: str) -> Orders:
    """The orders with those that are supposed, without those that are supposed to be over."""
    after = orders
    for id_ in supposition.ended:
        if (order := after.named(id_)) is None:
            known = ", ".join(each.id for each in orders) or "none"
            raise InvalidInput.single(f"order {id_}", "", f"is not in force; these are: {known}")
        after = ended(after, [order], now, _SAYS)
    for subject in supposition.subjects:
        frozen = NOT_WRITTEN if subject.verb is Verb.FREEZE else ""
        after, _ = begun(after, Wish(subject, now, _SAYS, _SAYS, frozen=frozen), now)
    return after


def _clusters(engine: Engine, config: Config, difference: Difference, supposed: Supposed) -> Clusters:
    """The clusters in scope to which something could happen."""
    read = [key for key in config.index.keys_alone() if any(each.has(key) for each in supposed.down)]
    _check_known(engine, config, [each for each in supposed.down if not any(map(each.has, read))])
    plans = _readers(engine, config, read)
    for subject in supposed.subjects:
        found = _sidecars(plans_about(engine, config.root, [subject.service]))
        about = {key: plan for key, plan in found.items() if concerns(subject, plan)}
        if not about:
            raise InvalidInput.single(str(subject), "", "no registered sidecar has a cluster that this is about")
        plans |= about
    if scopes := changed_scopes(supposed.orders, supposed.after):
        plans |= _sidecars(plans_in(engine, config.root, scopes))
    pairs = {
        key: tuple(each if isinstance(each, SidecarPlan) else None for each in pair)
        for key, pair in engine.scope.of(difference.plans).items()
    }
    return {**_as_they_are(plans), **{key: (old, new) for key, (old, new) in pairs.items() if old or new}}


def _check_known(engine: Engine, config: Config, down: Sequence[Down]) -> None:
    """Raise InvalidInput for a typing error among what is down and nothing depends on."""
    known = known_names(engine, config) if down else None
    for each in down:
        assert known is not None
        known.check_datacenter("what is down", str(each), each.datacenter)
        if each.service is not None:
            known.check_service("what is down", each.service)


def _as_they_are(plans: Mapping[str, SidecarPlan]) -> Clusters:
    return {key: (plan, plan) for key, plan in plans.items()}


def _readers(engine: Engine, config: Config, sources: Collection[str]) -> dict[str, SidecarPlan]:
    """The plans of sidecars in scope that read any of these catalogs."""
    if len(sources) > _FEW:
        wanted = set(sources)
        plans = _sidecars(engine.scope.of(config.plans))
        return {key: plan for key, plan in plans.items() if not wanted.isdisjoint(plan.inputs())}
    found: dict[str, PlanEntry] = {}
    for source in sources:
        found |= readers_of(engine.objects, config.root, source)
    return _sidecars(engine.scope.of(found))


def _sidecars(jobs: Mapping[str, PlanEntry]) -> dict[str, SidecarPlan]:
    return {key: job.plan for key, job in jobs.items() if isinstance(job.plan, SidecarPlan)}


def _source(target: str) -> str:
    """The key of the instances of the target with this id."""
    *_, name, namespace, datacenter = target.split(".")
    return service_key(datacenter, ServiceName(namespace, name))


def _falls(effect: Effect, down: Iterable[Down]) -> bool:
    return any(each.service is None and each.datacenter == effect.datacenter for each in down)


def _registrations(difference: Difference) -> tuple[Counter[str], Counter[str]]:
    """By the keys of plans, how many registrations have the cluster before and after."""
    was: Counter[str] = Counter()
    for key, body in difference.before.manifests.stored():
        was.update(sidecar_plan_key(datacenter_of(key), each) for each in body.get("clusters", ()))
    will = was.copy()
    for key, (old, new) in difference.manifests.items():
        will.subtract(_plan_keys(key, old))
        will.update(_plan_keys(key, new))
    return was, will


def _plan_keys(key: str, manifest: SidecarOrGateway | None) -> set[str]:
    if not isinstance(manifest, SidecarManifest):
        return set()
    return {sidecar_plan_key(datacenter_of(key), each) for each in manifest.clusters}


def _gained(difference: Difference) -> set[str]:
    """The keys of the plans of clusters that registrations get which are there already."""
    return {
        plan_key
        for key, (old, new) in difference.manifests.items()
        if old is not None
        for plan_key in _plan_keys(key, new) - _plan_keys(key, old)
    }


def _with_somebody(effect: Effect, gained: Collection[str]) -> Effect:
    """`effect`, without anybody to be stranded if the cluster comes and only new registrations have it."""
    has_nobody = not effect.before and effect.plan_key not in gained
    return replace(effect, was_nowhere=True) if has_nobody else effect
