"""Which gateways are reached from a datacenter, as its observers say."""

import pytest
from pointsman.failover.paths import cut_from
from pointsman.model.instance import Instance
from pointsman.model.keys import paths_key

GATEWAY = ("203.0.113.2", 443)


@pytest.mark.parametrize(
    ("said", "is_cut"),
    [
        ("", False),
        ("w", False),
        ("c", True),
        ("cc", True),
        ("cw", False),
        # Capitals are silent: they count only where nobody else speaks.
        ("C", True),
        ("CC", True),
        ("CW", False),
        ("W", False),
        ("cW", True),
        ("wC", False),
    ],
)
def test_a_gateway_is_reached_unless_all_who_are_heard_say_that_they_do_not_reach_it(said: str, is_cut: bool) -> None:
    observers = [
        Instance({}, True, letter in "cC", False, letter in "wW", None, GATEWAY, GATEWAY, silent=letter.isupper())
        for letter in said
    ]
    other = Instance({}, True, False, False, True, None, ("203.0.113.3", 443), ("203.0.113.3", 443))
    instances = {paths_key("dc1"): [*observers, other], paths_key("dc3"): [other]}

    assert cut_from("dc1", instances) == ({GATEWAY} if is_cut else set())
    assert cut_from("dc3", instances) == set()
