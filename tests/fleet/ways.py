"""Every way in which an Envoy can fetch."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.fleet.envoy import ENVOY_1_39, ENVOY_1_40

DELAY_MS = 20
"""Over REST, between an answer and the next poll: short, so that one change can follow the other."""


class Tongue(Enum):
    """How an Envoy and an adapter speak."""

    FILES = "files"
    REST = "REST"
    DELTA = "gRPC, delta"
    SOTW = "gRPC, state of the world"


@dataclass(frozen=True, slots=True)
class Way:
    """A tongue, and an Envoy; `told` is whether the adapter learns the Envoy's version, as all but files always do."""

    tongue: Tongue
    binary: Path = ENVOY_1_40
    told: bool = True

    @property
    def hostnames(self) -> bool:
        """Whether the SNI goes with the endpoints, and clusters never change with health."""
        return self.told and self.binary == ENVOY_1_40

    def __str__(self) -> str:
        envoy = "1.40" if self.binary == ENVOY_1_40 else "1.39"
        return f"{self.tongue.value}, {envoy}, SNI {'with the endpoints' if self.hostnames else 'in the cluster'}"


FILES = Way(Tongue.FILES)

WAYS = [
    FILES,
    Way(Tongue.FILES, told=False),
    Way(Tongue.FILES, ENVOY_1_39),
    *(
        Way(tongue, binary)
        for tongue in (Tongue.REST, Tongue.DELTA, Tongue.SOTW)
        for binary in (ENVOY_1_40, ENVOY_1_39)
    ),
]
"""All of them."""

TONGUES = [FILES, Way(Tongue.REST), Way(Tongue.DELTA)]
"""One for each, where the form of delivery plays no part."""
