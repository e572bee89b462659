"""`python -m tests.deploy`, which `make deploy-check` runs: deploy to an emulator of AWS, and use what is there."""

import argparse
import shutil
import signal
import sys
from pathlib import Path

from tests.deploy.check import check
from tests.deploy.progress import Progress
from tests.fleet.process import REPOSITORY, FleetError


def main() -> None:
    """The command line. Files are in `--directory`, also after a failure; processes end with it, however it ends."""
    parser = argparse.ArgumentParser(description="Deploy to an emulator of AWS, and use what is there.")
    parser.add_argument("--directory", type=Path, default=REPOSITORY / "build/deploy-check", help="is emptied first")
    directory = parser.parse_args().directory
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("deploy-check: asked to end"))
    try:
        check(directory, Progress())
    except FleetError as error:
        sys.exit(f"deploy-check failed: {error}\nlogs are in {directory}")
    except KeyboardInterrupt:
        sys.exit("deploy-check: interrupted")


if __name__ == "__main__":
    main()
