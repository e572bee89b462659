"""Deploy: applies config that producers write to one place again and again."""

from collections.abc import Callable, Iterator

from pointsman.model.note import NO_NOTE, Note
from pointsman.pipeline.configure import Batch, Configured, configure
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine


def deploy(
    engine: Engine,
    content_of: Callable[[], bytes | None],
    batch_of: Callable[[bytes | None], Batch],
    trust_domain: str,
    note: Note = NO_NOTE,
) -> Iterator[Configured]:
    """Apply what `content_of` reads (None: missing) until it reads what was applied last. Yields the result of each.
    `note` is noted beside every generation of it.

    Two runs may read in one order and apply in the other, which would leave the older content. So after applying, each
    run reads again. Content that is missing by then was applied while it existed.

    Raises InvalidInput, for instance from `batch_of`; StoreUnavailable; and Contended if the place is written faster
    than it is applied: run it again.
    """
    content = content_of()
    for _ in range(ATTEMPTS):
        yield configure(engine, batch_of(content), trust_domain=trust_domain, note=note)
        applied, content = content, content_of()
        if content in (applied, None):
            return
    raise Contended("the config is uploaded faster than it is applied; run it again")
