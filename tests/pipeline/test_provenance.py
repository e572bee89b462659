"""How two provenances stand to each other decides which of two writers reads again."""

import pytest
from pointsman.xds.snapshot import Provenance, Relation

SITUATIONS = {
    "the same": (Provenance(1, 2, {"a": 1}), Provenance(1, 2, {"a": 1}), Relation.EQUAL),
    "a catalog moved on": (Provenance(1, 2, {"a": 2}), Provenance(1, 2, {"a": 1}), Relation.NEWER),
    "the plan changed": (Provenance(1, 3, {"a": 1}), Provenance(1, 2, {"a": 1}), Relation.NEWER),
    "one catalog is ahead, another behind": (
        Provenance(1, 2, {"a": 2, "b": 1}),
        Provenance(1, 2, {"a": 1, "b": 2}),
        Relation.INCOMPARABLE,
    ),
    "the plan is newer, a catalog older": (
        Provenance(1, 3, {"a": 1}),
        Provenance(1, 2, {"a": 2}),
        Relation.INCOMPARABLE,
    ),
    "an epoch outranks everything": (Provenance(2, 1, {"a": 1}), Provenance(1, 9, {"a": 9}), Relation.NEWER),
    "what a later plan reads no more says nothing": (
        Provenance(1, 3, {"b": 1}),
        Provenance(1, 2, {"a": 9}),
        Relation.NEWER,
    ),
    "a catalog that is missing counts as 0": (Provenance(1, 2, {"a": 1}), Provenance(1, 2, {}), Relation.NEWER),
}
_REVERSED = {Relation.NEWER: Relation.OLDER}


@pytest.mark.parametrize("name", SITUATIONS)
def test_how_one_provenance_stands_to_another(name: str) -> None:
    one, other, relation = SITUATIONS[name]
    assert one.relation_to(other) is relation
    assert other.relation_to(one) is _REVERSED.get(relation, relation)
