"""Whether everything in requirements.lock has a wheel for a Python that need not be there: `wheels.py 3.14`.

pip fetches each wheel and checks its hash; nothing is installed and nothing is kept.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> None:
    """Exit with 0 if every dependency has a wheel, else with what pip says."""
    if len(sys.argv) != 2 or not re.fullmatch(r"3\.\d+", sys.argv[1]):
        sys.exit("usage: python infra/wheels.py 3.14")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--python-version", sys.argv[1], "--require-hashes", "--dest", folder]
        done = subprocess.run([*command, "-r", str(REPOSITORY / "requirements.lock")], check=False)
        if done.returncode:
            sys.exit(f"a dependency has no wheel for Python {sys.argv[1]}: raise its version in requirements.lock")
        count = len(list(Path(folder).glob("*.whl")))
    print(f"all {count} dependencies have wheels for Python {sys.argv[1]}")


if __name__ == "__main__":
    main()
