"""What holds for all tests."""

import os
from collections import Counter
from collections.abc import Iterator
from functools import cache

import botocore.loaders
import pytest
from hypothesis import Phase, settings

from tests.fleet.process import Ports
from tests.fleet.seaweedfs import SeaweedFS
from tests.share import share_of

# Tests start processes while gRPC servers run beside them. gRPC's handlers for a fork wake its threads in the child,
# which may kill it before it has become the program that it was started for.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# A change lands or not by what it is, not by luck: in CI the properties are tried on the same examples every time, and
# how long one takes says how busy the machine is.
settings.register_profile("here", max_examples=share_of(100), deadline=None)
settings.register_profile("ci", max_examples=share_of(100), deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# Nor is a shorter example looked for, or kept for the next time, where nobody reads what went wrong.
settings.register_profile(
    "unread", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
if os.environ.get("POINTSMAN_TESTS_SHRINK") == "0":
    settings.load_profile("unread")

# A session reads botocore's descriptions of the services from disk for itself. There is a session for each cold start
# of a function, and for hundreds of clients beside them.
botocore.loaders.create_loader = cache(botocore.loaders.create_loader)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in a line each why tests were skipped."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(
        each.longrepr[2].removeprefix("Skipped: ") for each in skipped if isinstance(each.longrepr, tuple)
    )
    for reason, number in reasons.items():
        terminalreporter.write_line(f"skipped ({number}): {reason}")


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """A SeaweedFS for all tests of a worker that need one. It takes four seconds to start, and then costs nothing."""
    with Ports() as ports, SeaweedFS(tmp_path_factory.mktemp("seaweedfs"), ports) as weed:
        weed.wait_ready()
        yield weed
