"""SnapStart: the memory of one execution environment is kept once, and many begin with it."""

import random
from collections.abc import Callable


def around_the_snapshot(*prepare: Callable[[], object]) -> None:
    """Have Lambda call `prepare` before it keeps the memory, and seed `random` anew wherever it is taken up again.

    `prepare` is for what an environment that starts without a snapshot should not wait for (imports that few events
    need, say): in a snapshot it costs nothing. What is drawn with `random` (botocore's pauses between attempts) would
    otherwise be the same in all environments; nonces come from the operating system and differ. Elsewhere than in
    Lambda nothing happens. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    try:
        # Lambda's runtime brings it along.
        from snapshot_restore_py import register_after_restore, register_before_snapshot
    except ImportError:
        return
    for each in prepare:
        register_before_snapshot(each)
    register_after_restore(random.seed)


def import_config() -> None:
    """Import all that reading and changing the config takes, and build its shapes, as events alone never do."""
    from pointsman.model.shape import build_shapes
    from pointsman.pipeline import configure  # noqa: F401

    build_shapes()
