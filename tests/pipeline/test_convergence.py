"""Convergence: whatever the order, the duplicates, the crashes and the races, the end is a function of the state.

Each life is a number of rounds; what happens in one round happens at the same time, one read or write of one object
after another in an order drawn at random, with crashes and outages at any of them. All along nothing may be torn, used
twice or go back; in the end everything must be as a computation from nothing but the final state has it.
"""

from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pipeline.life import Life
from tests.pipeline.stories import BEGINNING, Act, acts, flips

_SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
_seeds = st.integers(0, 2**32)


def _rounds(acts: st.SearchStrategy[Act]) -> st.SearchStrategy[list[list[Act]]]:
    return st.lists(st.lists(acts, min_size=1, max_size=5), min_size=1, max_size=5)


def _end_of(rounds: Sequence[Sequence[Act]], seed: int) -> list[str]:
    life = Life(seed)
    life.live(rounds)
    return life.problems_at_the_end()


@_SETTINGS
@given(_rounds(acts), _seeds)
def test_whatever_happens_to_a_mesh_it_ends_as_its_final_state_says(rounds: list[list[Act]], seed: int) -> None:
    assert _end_of([[Act(BEGINNING, 0, None, True)], *rounds], seed) == []


@_SETTINGS
@given(_rounds(flips), _seeds)
def test_so_it_does_when_the_same_few_things_come_and_go_with_crashes_between(
    rounds: list[list[Act]], seed: int
) -> None:
    assert _end_of(rounds, seed) == []
