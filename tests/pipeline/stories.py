"""Random lives of a small mesh: what is done in it, where, and what goes wrong. Same seed, same story."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import orjson
from pointsman.model.entries import EntryKey
from pointsman.model.events import HealthEvent
from pointsman.model.names import ServiceName
from pointsman.model.orders import Subject, Verb

from tests.pipeline.acts import (
    Act,
    Batch,
    Damage,
    End,
    Forget,
    Give,
    Lapse,
    Pointed,
    Records,
    Redelivery,
    Rescope,
    Rollback,
    Story,
    Trouble,
    Upload,
)
from tests.pipeline.acts import Verb as What
from tests.pipeline.meshes import (
    Document,
    alive,
    defaults,
    event,
    gateway,
    gateway_instance,
    instance,
    namespace,
    path,
    policy,
    proxy_defaults,
    resolver,
    sidecar,
    splitter,
)

DATACENTERS = ("dc1", "dc2", "dc3")
SERVICES = ("web", "api", "db")
ENGINES = 3
FLAPPING = 2
"""The remainder of the seeds, divided by twelve, of lives in which nothing happens but that an instance flaps."""

LISTS, UPLOADS = "incoming/", "deploy/"
"""Where in the bucket lists are, and config is uploaded."""

_TEAM = "team"
_SOURCES = ("consul", "consul", "ecs")


BEGINNING = Batch(
    [
        proxy_defaults("", "local"),
        resolver("web", Failover={"*": {"Datacenters": ["dc2", "dc3"]}}),
        sidecar("api", "web"),
        sidecar("db", "web", "api", dc="dc2"),
        gateway("dc1"),
        gateway("dc2"),
    ]
)
"""A mesh to start from: most batches by themselves would lead nowhere."""

FLIPS: Sequence[Batch] = (
    Batch([sidecar("web", "api", "db")]),
    Batch([], registrations=["dc1/sidecar/default/web"]),
    Batch([gateway("dc1")]),
    Batch([], registrations=["dc1/gateway/gw"]),
    Batch([namespace(_TEAM)]),
    Batch([], entries=[("namespace", "default", _TEAM)]),
    Batch([resolver("api", Subsets={"v1": {"Filter": "Service.Meta.version == v1"}}, DefaultSubset="v1")]),
    Batch([resolver("api", Failover={"*": {"Datacenters": ["dc2"]}})]),
    Batch([], entries=[("service-resolver", "default", "api")]),
    Batch([sidecar("web", "db"), gateway("dc2")]),
)
"""Batches that undo one another: the same few things come and go."""


class Teller:
    """Tells stories by chance."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = Random(seed)
        self._index = 1
        self._ahead = [0] * ENGINES

    def story(self, most_rounds: int = 4, most_acts: int = 4) -> Story:
        """Every third one is of the same few things that come and go, from an empty store on; every sixth is of sources
        that fall silent and are heard again, or of orders; another twelfth is of policies and gateways, and one of an
        instance that flaps; in every fifth the store is for one datacenter."""
        flips = self.seed % 3 == 0
        tales = {1: self.silence, FLAPPING: self.flap, 5: self.order, 7: self.silence, 11: self.choice}
        tell = self.flip if flips else tales.get(self.seed % 12, self.act)
        rounds = [
            [tell() for _ in range(self._random.randint(1, most_acts))]
            for _ in range(self._random.randint(1, most_rounds))
        ]
        if self.seed % 12 in (1, 5, 7):
            everywhere = [event("web", 1, [instance("web", 1)], dc=dc, lease="30s") for dc in DATACENTERS]
            rounds.insert(0, [Act(Records(everywhere))])
        if self.seed % 12 == 11:
            webs = [self._webs(dc, 1) for dc in DATACENTERS]
            beginning = Batch([*BEGINNING.documents, self._policy()])
            rounds.insert(0, [Act(beginning), Act(Records([*webs, *(self._gateways(dc, 1) for dc in DATACENTERS)]))])
        if self.seed % 12 == FLAPPING:
            webs = [self._web(dc, 1) for dc in DATACENTERS]
            rounds = [[Act(Batch([*BEGINNING.documents, policy(FailbackAfter="10h")]))], [Act(Records(webs))], *rounds]
        return Story(self.seed, rounds, flips, () if self.seed % 5 else ("dc1",))

    def act(self) -> Act:
        """Anything."""
        often = [self.event, self.event, self.event, self.batch, self.batch]
        return self._act(self._one_of(*often, self._rarely, self._rarely, self._delivered, self._delivered)())

    def flip(self) -> Act:
        """One of what comes and goes, and what it is about."""
        return self._act(self._one_of(self._flip, self._flip, self._rarely, lambda: self.event(["api", "db", None]))())

    def silence(self) -> Act:
        """A source that speaks, renews its lease or falls silent, and now and then anything else."""
        if self._chance(0.2):
            return self.act()
        act = self._act(self._one_of(self._well, self._alive, self._lapse)())
        return act if self._chance(0.5) else replace(act, trouble=None)

    def order(self) -> Act:
        """An order that begins or ends, a service that fails or is well again, and now and then anything else."""
        if self._chance(0.2):
            return self.act()
        act = self._act(self._one_of(self._give, self._give, self._end, self._due, lambda: self.event(["web"]))())
        return act if self._chance(0.5) else replace(act, trouble=None)

    def _give(self) -> Give:
        service = ServiceName(self._namespace(), self._one_of("web", "web", "api"))
        where = self._one_of(*DATACENTERS)
        subject = self._one_of(
            Subject(Verb.DRAIN, where),
            Subject(Verb.DRAIN, where, service),
            Subject(Verb.PIN, where, service, self._one_of("", "dc1", "dc2")),
            Subject(Verb.FREEZE, service=self._one_of(None, service)),
        )
        return Give(subject, self._one_of(5, 60, 60, 3000), self._chance(0.8))

    def _end(self) -> End:
        return End(self._random.randrange(1000))

    def _due(self) -> What:
        return "due"

    def flap(self) -> Act:
        """The one instance of web in dc1 is ill and well by turns. Wakes come when they like, and clocks are up to
        half a minute apart; times are those of who takes an event in."""

        def tell() -> What:
            self._index += 1
            return self._web("dc1", self._index, "passing" if self._index % 2 else "critical")

        which = self._random.randrange(1000)
        act = self._act(self._one_of(tell, tell, tell, self._wake, lambda: "reconcile", lambda: Redelivery(which))())
        ahead = self._one_of(0, 0, 30)
        jump, self._ahead[act.engine] = ahead - self._ahead[act.engine], ahead
        return replace(act, jump=jump)

    def _wake(self) -> What:
        return "wake"

    def _web(self, where: str, index: int, status: str = "passing") -> HealthEvent:
        return event("web", index, one=instance("web", 1, status), dc=where)._replace(at=0)

    def choice(self) -> Act:
        """Policies, and gateways and instances that are ill or well, and now and then anything else."""
        if self._chance(0.2):
            return self.act()
        where, index = self._one_of(*DATACENTERS), self._random.randint(1, 20)
        tell: Callable[[], What] = self._one_of(
            lambda: Batch([self._policy()]),
            self._wake,
            self._lapse,
            lambda: self._paths(where, index),
            lambda: self._gateways(where, index),
            lambda: self._webs(where, index),
        )
        act = self._act(tell())
        return act if self._chance(0.5) else replace(act, trouble=None)

    def _webs(self, where: str, index: int) -> HealthEvent:
        """All instances of web in a datacenter: one, some or none of them well."""
        statuses = self._one_of(
            ("critical",) * 3, ("passing", "critical", "critical"), ("passing", "warning", "passing")
        )
        return event("web", index, [instance("web", i, each) for i, each in enumerate(statuses, 1)], dc=where)

    def _gateways(self, where: str, index: int) -> HealthEvent:
        """All gateways of a datacenter: one, both or none of them well."""
        statuses = self._one_of(("critical", "critical"), ("passing", "critical"), ("passing", "passing"))
        return event(None, index, [gateway_instance(i, each) for i, each in enumerate(statuses, 1)], dc=where)

    def _paths(self, where: str, index: int) -> HealthEvent:
        """How an observer in a datacenter reaches the gateways of others, until it is silent."""
        seen = [path(i, self._one_of("passing", "critical", "critical")) for i in (1, 2) if self._chance(0.8)]
        return event("gateway-paths", index, seen, dc=where, source=self._one_of("one", "two"), lease="30s")

    def _policy(self) -> Document:
        fields = {
            "HealthyThreshold": self._one_of(1, 1, 2, "50%", "100%"),
            "Gateways": self._one_of("avoid", "require", "require", "require", "ignore"),
            "FailbackAfter": self._one_of("0s", "30s", "10m"),
        }
        return policy(self._one_of("global", "global", "web", "api"), **fields)

    def _well(self) -> HealthEvent:
        """Web is well somewhere, a source with a lease says."""
        where, index = self._one_of(*DATACENTERS), self._random.randint(1, 20)
        source = self._one_of(*_SOURCES)
        return event("web", index, [instance("web", 1)], dc=where, source=source, lease="30s")

    def _lapse(self) -> Lapse:
        return Lapse(self._random.randrange(1000))

    def _flip(self) -> What:
        return self._one_of(*FLIPS)

    def _rarely(self) -> What:
        which = self._random.randrange(1000)
        kinds: list[Callable[[], What]] = [
            lambda: "reconcile",
            lambda: Redelivery(which),
            lambda: Rollback(1 + which % 3),
            lambda: Damage(which),
            lambda: Forget(self._one_of(0, 2, 30)),
            lambda: Rescope(self._one_of((), ("dc1",), ("dc1", "dc2"))),
        ]
        return self._one_of(*kinds, kinds[0], kinds[1])()

    def _alive(self) -> HealthEvent:
        lease = self._one_of("30s", "30s", "30s", "10s", "0s")
        source = self._one_of(*_SOURCES)
        return alive(self._random.randint(1, 20), dc=self._one_of(*DATACENTERS), source=source, lease=lease)

    def _delivered(self) -> What:
        """What comes from a queue on AWS alone."""
        return self._one_of(self._records, self._records, self._upload, self._upload, self._pointed)()

    def _records(self) -> Records:
        return Records([self.event() for _ in range(self._random.randint(2, 4))])

    def _upload(self) -> Upload:
        """Of services that nothing else speaks of; some cannot be read."""
        number = self._random.randint(1, 2)
        documents = [
            resolver(f"shop{number}", ConnectTimeout=f"{self._random.randint(1, 9)}s"),
            sidecar(f"front{number}", f"shop{number}"),
        ]
        content = orjson.dumps(documents) if self._chance(0.9) else b"{"
        return Upload(f"{UPLOADS}{number}.json", content)

    def _pointed(self) -> Pointed:
        service, number = self._one_of(*SERVICES), self._random.randint(1, 2)
        listed = [self._instance(service, each) for each in self._random.sample([1, 2, 3], self._random.randint(0, 3))]
        said = {"Source": "consul", "Index": self._random.randint(1, 6), "Datacenter": self._one_of(*DATACENTERS)}
        key = f"{LISTS}{number}.json"
        content = orjson.dumps(listed) if self._chance(0.9) else None
        return Pointed(key, content, {**said, "Service": service, "InstancesAt": {"Key": key}})

    def _act(self, what: What) -> Act:
        jump = self._one_of(0, 0, 0, 0, 0, 3600, -30)
        trouble = None
        if self._chance(0.35):
            kind: Any = self._one_of("crash", "crash", "away", "deaf")
            trouble = Trouble(self._random.randint(1, 80), kind, self._random.randint(1, 6))
        return Act(what, self._random.randrange(ENGINES), trouble, self._chance(0.5), jump)

    def batch(self) -> Batch:
        """A change of config, which may be refused."""
        kind = self._one_of("write", "write", "write", "entry", "registration", "beginning")
        if kind == "write":
            return Batch([self._document() for _ in range(self._random.randint(1, 2))])
        if kind == "entry":
            return Batch([], [self._entry_key()])
        if kind == "registration":
            return Batch([], [], [self._registration_key()])
        return BEGINNING

    def event(self, services: Sequence[str | None] = (*SERVICES, None)) -> HealthEvent:
        """An event of few instances at few indexes, so that they often contend."""
        service, where = self._one_of(*services), self._one_of(*DATACENTERS)
        stamp = {"index": self._random.randint(1, 6), "epoch": self._one_of(0, 0, 0, 0, 1)}
        lease = self._one_of("", "30s")
        place = {"dc": where, "namespace": self._namespace(), "source": self._one_of(*_SOURCES), "lease": lease}
        kind = self._one_of("list", "list", "one", "one", "removed", "checks")
        if kind == "list":
            numbers = self._random.sample([1, 2, 3], self._random.randint(0, 3))
            return event(service, instances=[self._instance(service, each) for each in numbers], **stamp, **place)
        one = self._instance(service, self._random.randint(1, 3))
        if kind == "removed":
            return event(service, removed=one, **stamp, **place)
        said = event(service, one=one, **stamp, **place)
        checks = tuple(statement._replace(description=None) for statement in said.statements)
        return said._replace(statements=checks, checks_only=True) if kind == "checks" else said

    def _instance(self, service: str | None, number: int) -> Document:
        status = self._one_of("passing", "passing", "warning", "critical")
        if service is None:
            return gateway_instance(number, status)
        version, output = self._one_of("v1", "v2"), self._one_of("", "ok")
        return instance(service, number, status, version=version, output=output)

    def _document(self) -> Document:
        tell: Callable[[], Document] = self._one_of(
            self._resolver,
            self._resolver,
            self._resolver,
            self._sidecar,
            self._sidecar,
            self._defaults,
            lambda: proxy_defaults(self._one_of("", "tcp", "http"), self._mode()),
            lambda: gateway(self._one_of(*DATACENTERS), self._one_of("gw", "gw2")),
            lambda: namespace(_TEAM),
            self._splitter,
            self._policy,
        )
        return tell()

    def _resolver(self) -> Document:
        fields: dict[str, Any] = {"ConnectTimeout": self._one_of("0s", "0s", "1s")}
        if self._chance(0.5):
            fields["Subsets"] = {
                "v1": {"Filter": "Service.Meta.version == v1", "OnlyPassing": self._chance(0.5)},
                "v2": {"Filter": "Service.Meta.version == v2"},
            }
            fields["DefaultSubset"] = self._one_of("", "v1")
        kind = self._one_of("failover", "failover", "failover", "redirect", "nothing")
        if kind == "failover":
            key = self._one_of("*", "*", "v1") if "Subsets" in fields else "*"
            section: dict[str, Any] = {"Datacenters": self._random.sample(DATACENTERS, self._random.randint(1, 3))}
            if self._chance(0.3):
                section["Service"] = self._one_of(*SERVICES)
            fields["Failover"] = {key: section}
        elif kind == "redirect":
            fields["Redirect"] = {
                "Service": self._one_of(*SERVICES),
                "Datacenter": self._one_of("", *DATACENTERS),
            }
            fields.pop("DefaultSubset", None)
        return resolver(self._one_of(*SERVICES), namespace=self._namespace(), **fields)

    def _defaults(self) -> Document:
        mode = {"Mode": self._mode()}
        return defaults(self._one_of(*SERVICES), Protocol=self._one_of("", "tcp", "http"), MeshGateway=mode)

    def _splitter(self) -> Document:
        one, other = self._one_of(*SERVICES), self._one_of(*SERVICES)
        return splitter(one, {"Weight": 50, "Service": one}, {"Weight": 50, "Service": other})

    def _sidecar(self) -> Document:
        upstreams: list[Mapping[str, Any]] = [
            {
                "DestinationName": name,
                "MeshGateway": {"Mode": self._one_of("", "", "", "local", "remote")},
                "Datacenter": self._one_of("", "", "dc2"),
                "Config": self._one_of({}, {}, {"connect_timeout_ms": 700}),
            }
            for name in self._random.sample(SERVICES, self._random.randint(0, 3))
        ]
        where, mode = self._one_of("dc1", "dc1", "dc2"), self._one_of("", "local")
        return sidecar(self._one_of(*SERVICES), *upstreams, dc=where, namespace=self._namespace(), mode=mode)

    def _entry_key(self) -> EntryKey:
        kind = self._one_of("service-resolver", "service-defaults", "service-splitter", "proxy-defaults", "namespace")
        if kind == "proxy-defaults":
            return (self._one_of(kind, "failover-policy"), "default", "global")
        if kind == "namespace":
            return (kind, "default", _TEAM)
        return (kind, self._namespace(), self._one_of(*SERVICES))

    def _registration_key(self) -> str:
        if self._chance(0.5):
            return f"{self._one_of('dc1', 'dc2')}/sidecar/{self._namespace()}/{self._one_of(*SERVICES)}"
        return f"{self._one_of(*DATACENTERS)}/gateway/{self._one_of('gw', 'gw2')}"

    def _mode(self) -> str:
        return str(self._one_of("", "none", "local", "remote"))

    def _namespace(self) -> str:
        return str(self._one_of("default", "default", "default", _TEAM))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _one_of(self, *values: Any) -> Any:
        return self._random.choice(values)
