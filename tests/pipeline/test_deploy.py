"""Uploads: the run that applies last has applied the current object."""

from collections.abc import Callable

import pytest
from pointsman.pipeline import deploy as deploying
from pointsman.pipeline.configure import Batch, parse_documents
from pointsman.pipeline.deploy import deploy
from pointsman.pipeline.engine import Contended

from tests.pipeline.fresh import config_in
from tests.pipeline.meshes import resolver
from tests.pipeline.place import Place, Writer


def _batch_of(content: bytes | None) -> Batch:
    assert content is not None
    return parse_documents([resolver("web", ConnectTimeout=content.decode())])


def _apply(writer: Writer, content_of: Callable[[], bytes | None]) -> list[int]:
    return [done.generation for done in deploy(writer.engine, content_of, _batch_of, "")]


def _timeout(place: Place) -> int:
    found = config_in(place.objects).entries.get(("service-resolver", "default", "web"))
    return int(found.model_dump()["connect_timeout"]) if found else 0


def test_an_upload_that_is_applied_after_a_later_one_gives_way_to_it() -> None:
    place, there = Place(), [b"1s"]
    later = place.another()

    def upload_and_apply() -> None:
        there.append(b"2s")
        assert _apply(later, lambda: there[-1]) == [1]

    # The first was read, and is about to become the config.
    place.once("put", "config/head", "before", upload_and_apply)
    assert _apply(place, lambda: there[-1]) == [2, 3]
    assert _timeout(place) == 2 * 10**9


def test_an_upload_that_is_gone_was_applied_while_it_was_there() -> None:
    place, reads = Place(), iter([b"1s", None])
    assert _apply(place, lambda: next(reads)) == [1]
    assert _timeout(place) == 10**9


def test_what_is_uploaded_faster_than_it_is_applied_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying, "ATTEMPTS", 4)
    place, numbers = Place(), iter(range(1, 100))
    with pytest.raises(Contended, match="uploaded faster than it is applied; run it again"):
        _apply(place, lambda: b"%ds" % next(numbers))
    assert next(numbers) == 6
