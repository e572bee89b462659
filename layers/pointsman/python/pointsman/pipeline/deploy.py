"""Deploy: config that is written to one place again and again, applied as it is there now."""

from collections.abc import Callable, Iterator

from pointsman.pipeline.configure import Batch, Configured, configure
from pointsman.pipeline.engine import ATTEMPTS, Contended, Engine


def deploy(
    engine: Engine, content_of: Callable[[], bytes | None], batch_of: Callable[[bytes | None], Batch], trust_domain: str
) -> Iterator[Configured]:
    """Apply what `content_of` reads (None: nothing is there) until it reads what was applied last; what each came to.

    Of two writers of one place the first may be read before the second has written, and applied after the second was.
    So the one that applies last looks again. What is gone by then was applied while it was there.

    Raises InvalidInput, from `batch_of` for one, StoreUnavailable, and Contended where the place is written faster than
    it is applied: run it again.
    """
    content = content_of()
    for _ in range(ATTEMPTS):
        yield configure(engine, batch_of(content), trust_domain=trust_domain)
        applied, content = content, content_of()
        if content in (applied, None):
            return
    raise Contended("the config is uploaded faster than it is applied; run it again")
