"""What comes before what: whatever is wanted, however often, no Envoy ever has a listener without its clusters."""

from dataclasses import dataclass, field

from hypothesis import example, given
from hypothesis import strategies as st
from pointsman.delivery.order import AT_ONCE, NEVER, Given, next_step

SETTLE = 3
"""Moments within which every Envoy has asked for everything at least once, wherever in a moment it asks: so each asks
again SETTLE - 1 moments later, at the latest."""


@dataclass(frozen=True)
class Wanted:
    """Clusters, and what the listeners need of them."""

    clusters: frozenset[str]
    listeners: frozenset[str]


@dataclass
class Server:
    """Shows what `next_step` says, to Envoys that ask."""

    shown: Wanted
    given: Given = field(default_factory=Given)
    due: float | None = None
    ready_in: float = SETTLE

    def bring(self, wanted: Wanted, now: float) -> None:
        relisten = self.shown.listeners != wanted.listeners
        step = next_step(
            self.given,
            now,
            came=not wanted.clusters <= self.shown.clusters,
            relisten=relisten,
            leaving=not self.shown.clusters <= wanted.clusters,
            ready_in=self.ready_in,
            taken_in=SETTLE,
        )
        clusters = step.clusters(dict.fromkeys(self.shown.clusters, "old"), dict.fromkeys(wanted.clusters, "new"))
        assert all(clusters[name] == "new" for name in wanted.clusters), "what is wanted comes at once"
        listeners = self.shown.listeners if relisten and not step.relistens else wanted.listeners
        self.shown, self.given, self.due = Wanted(frozenset(clusters), listeners), step.given, step.due


@dataclass
class Envoy:
    """Asks for clusters and for listeners, each when it likes, but within the time to settle."""

    clusters: frozenset[str]
    listeners: frozenset[str]
    ages: list[int] = field(default_factory=lambda: [0, 0])

    def ask(self, shown: Wanted, first: int, both: bool) -> None:
        for kind in (first, 1 - first):
            if kind == first or both or self.ages[kind] == SETTLE - 2:
                if kind == 0:
                    self.clusters = shown.clusters
                else:
                    self.listeners = shown.listeners
                self.ages[kind] = 0
                assert self.listeners <= self.clusters, "a listener without its cluster"
            else:
                self.ages[kind] += 1


NAMES = st.frozensets(st.sampled_from("abc"))
WANTED = st.builds(lambda listeners, more: Wanted(listeners | more, listeners), NAMES, NAMES)
Moment = tuple[Wanted | None, int, bool, bool]
"""What is wanted from now on, if it is something else; for which kind an Envoy asks first, whether for both, and
whether before the server sees what is wanted."""
MOMENTS = st.lists(st.tuples(st.none() | WANTED, st.sampled_from((0, 1)), st.booleans(), st.booleans()), max_size=40)
A, B, NOTHING = frozenset("a"), frozenset("b"), frozenset[str]()
ONLY_LISTENERS: list[Moment] = [(None, 1, False, False)] * (2 * SETTLE)


@given(first=WANTED, moments=MOMENTS)
@example(first=Wanted(A, A), moments=[(Wanted(B, B), 1, False, True), *ONLY_LISTENERS])
@example(first=Wanted(A, A), moments=[(Wanted(A | B, B), 0, True, False), (Wanted(A, A), 0, True, False)])
@example(first=Wanted(A, A), moments=[(Wanted(NOTHING, NOTHING), 0, True, True), *[(None, 0, False, False)] * SETTLE])
def test_no_envoy_that_polls_has_a_listener_without_its_clusters_and_all_get_what_is_wanted(
    first: Wanted, moments: list[Moment]
) -> None:
    server, envoy, wanted = Server(first), Envoy(first.clusters, first.listeners), first
    for now, (change, kind, both, before) in enumerate(moments):
        if before:
            envoy.ask(server.shown, kind, both)
        wanted = change or wanted
        server.bring(wanted, now)
        if not before:
            envoy.ask(server.shown, kind, both)
    for now in range(len(moments), len(moments) + 2 * SETTLE + 1):
        server.bring(wanted, now)
        envoy.ask(server.shown, 0, True)
    assert server.shown == wanted
    assert server.due is None
    assert (envoy.clusters, envoy.listeners) == (wanted.clusters, wanted.listeners)


@given(first=WANTED, changes=st.lists(WANTED, max_size=8))
def test_where_clusters_are_there_before_the_listeners_only_what_leaves_waits(
    first: Wanted, changes: list[Wanted]
) -> None:
    server = Server(first, ready_in=0.0)
    for now, wanted in enumerate(changes):
        before = server.shown
        server.bring(wanted, now)
        assert server.shown.listeners == wanted.listeners
        assert server.shown.clusters >= wanted.clusters
        if before.listeners != wanted.listeners:
            assert server.shown.clusters >= before.clusters, "nothing goes while the listeners change"
    server.bring(server.shown, len(changes) + SETTLE)
    assert server.due is None


@given(first=WANTED, wanted=WANTED, ago=st.integers(0, 3 * SETTLE))
def test_who_remembers_nothing_knows_from_the_moment_of_a_change_how_far_envoys_are(
    first: Wanted, wanted: Wanted, ago: int
) -> None:
    came = not wanted.clusters <= first.clusters
    known = Given.by_time(0.0, SETTLE, came=came)
    server = Server(first)
    for now in range(ago + 1):
        server.bring(wanted, now)
    if first.listeners != wanted.listeners:
        assert known.may_listen(ago) == (server.shown.listeners == wanted.listeners)
        assert known.may_leave(ago) == (server.due is None) or first.clusters <= wanted.clusters
    assert not known.may_leave(ago) or server.shown == wanted


def test_an_envoy_that_says_how_far_it_is_waits_for_nothing_else() -> None:
    assert Given(AT_ONCE, AT_ONCE).may_listen(0.0)
    assert Given(AT_ONCE, AT_ONCE).may_leave(0.0)
    assert not Given(ready=NEVER).may_listen(1e300)
    assert not Given(taken=NEVER).may_leave(1e300)
