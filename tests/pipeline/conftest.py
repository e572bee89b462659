"""What holds for all tests of the pipeline."""

from collections.abc import Iterator

import pytest

from tests.pipeline.place import awaited


@pytest.fixture(autouse=True)
def every_race_takes_place() -> Iterator[None]:
    """A scripted race that did not take place shows nothing, so its test fails."""
    awaited()
    yield
    left = awaited()
    assert not left, f"no writer came to {left}"
