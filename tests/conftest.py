"""What holds for all tests."""

import os

from hypothesis import settings

# A change lands or not by what it is, not by luck: in CI the properties are tried on the same examples every time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
