"""Bounds on a service's incoming connections, for who reads them in a config and who delivers them."""

from typing import Final

MOST_EXPOSED: Final = 64
"""Paths that one service exposes: each is a listener of its own in every sidecar."""

LARGEST_COUNT: Final = 2**32 - 2
"""The greatest limit of connections; one more means none to Envoy."""
