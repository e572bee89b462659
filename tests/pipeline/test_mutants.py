"""The mutants of `make mutants` can be made: each breaks a line that is there, and names a test that is there."""

from pathlib import Path

import pytest

from tests.pipeline.mutants import mutated
from tests.pipeline.mutations import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.breaks)
def test_what_a_mutation_breaks_is_there(mutation: Mutation) -> None:
    compile(mutated(mutation), mutation.file, "exec")
    file, _, name = mutation.first.partition("::")
    text = Path(__file__).with_name(file).read_text()
    assert f"def {name}(" in text if name else text
