"""What pyproject.toml cannot say: a build writes down which commit it was made from, for `pointsman --version`."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
LIBRARY = Path("layers/pointsman/python")

sys.path.insert(0, str(HERE / LIBRARY))
from pointsman.cli.version import NOTE, UNKNOWN, commit_of  # noqa: E402


def note_in(package: Path) -> None:
    """Write the commit into a package that is being built, unless the source, which is no checkout, came with it."""
    if not (HERE / LIBRARY / "pointsman" / NOTE).exists():
        (package / NOTE).write_text(f"{commit_of(HERE) or UNKNOWN}\n", encoding="ascii")


class Build(build_py):
    """The modules, and the commit."""

    def run(self) -> None:
        """As usual; an editable installation has no copy of the package, and git is asked when it runs."""
        super().run()
        if not self.editable_mode:
            note_in(Path(self.build_lib, "pointsman"))


class SourceDistribution(sdist):
    """The sources, with the commit in a file: a build from them has no repository to ask."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """As usual."""
        super().make_release_tree(base_dir, files)
        note_in(Path(base_dir) / LIBRARY / "pointsman")


setup(cmdclass={"build_py": Build, "sdist": SourceDistribution})
