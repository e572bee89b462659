"""How much of what is drawn at random is tried.

The oldest Python that is supported tries less of it than the newest: what a rule says does not depend on it.
"""

import os

SHARE = "POINTSMAN_TESTS_SHARE"
"""Environment: the share of the examples and lives that a test would try (1 without it)."""


def share_of(number: int) -> int:
    """So many of `number` examples, one at least."""
    return max(1, round(number * float(os.environ.get(SHARE, "1"))))
