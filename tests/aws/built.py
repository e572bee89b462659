"""infra/build.py, which is a program and no module."""

import importlib.util
from types import ModuleType

from tests.fleet.process import REPOSITORY

WHEELS = REPOSITORY / "build"
"""Where wheels that were fetched once stay."""


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("infra_build", REPOSITORY / "infra/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load()
