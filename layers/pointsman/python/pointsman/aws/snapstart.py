"""SnapStart: Lambda saves the memory of one execution environment, and many others start from it."""

import random
from collections.abc import Callable


def around_the_snapshot(*prepare: Callable[[], object]) -> None:
    """Have Lambda call `prepare` before it saves the memory, and reseed `random` in every environment that starts from
    it.

    `prepare` is for work that would slow down a start without a snapshot, such as imports that few events need: in a
    snapshot it is free. Without reseeding, `random` (used for botocore's pauses between attempts) would yield the same
    in all environments; nonces come from the operating system and differ. Outside Lambda nothing happens.
    https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
    """
    try:
        # Part of Lambda's runtime.
        from snapshot_restore_py import register_after_restore, register_before_snapshot
    except ImportError:
        return
    for each in prepare:
        register_before_snapshot(each)
    register_after_restore(random.seed)


def import_config() -> None:
    """Import everything for reading and changing the config, and build its models, which health events alone never
    need."""
    from pointsman.model.shape import build_shapes
    from pointsman.pipeline import configure  # noqa: F401

    build_shapes()
